//! Statistics of WAL, as the server reports them.

use std::thread::sleep;
use std::time::Duration;

use crate::programs::{client, output, path};
use crate::queue::Queue;
use crate::result::Result;
use crate::server::Server;

/// The maximum time after which processes report their statistics.
const REPORTED: Duration = Duration::from_millis(2500);

/// Counters of the server since its start.
#[derive(Clone, Copy, Debug)]
pub struct Wal {
    pub records: i64,
    pub page_images: i64,
    pub bytes: i64,
    pub syncs: i64,
}

impl Wal {
    /// The counters, after all processes have reported.
    ///
    /// # Errors
    /// If the server reports an error.
    pub fn settled(queue: &mut Queue) -> Result<Self> {
        sleep(REPORTED);
        let major: i32 = queue.one("select current_setting('server_version_num')::integer / 10000")?;
        let syncs = if major >= 18 {
            "(select sum(fsyncs)::bigint from pg_stat_io where object = 'wal')"
        } else {
            "wal_sync"
        };
        let query = format!("select wal_records, wal_fpi, wal_bytes::bigint, {syncs} from pg_stat_wal");
        let row = queue.sql.query_one(&query, &[])?;
        Ok(Self { records: row.get(0), page_images: row.get(1), bytes: row.get(2), syncs: row.get(3) })
    }

    /// The difference to earlier counters.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            records: self.records - earlier.records,
            page_images: self.page_images - earlier.page_images,
            bytes: self.bytes - earlier.bytes,
            syncs: self.syncs - earlier.syncs,
        }
    }
}

/// The records of one type between two positions.
#[derive(Clone, Debug)]
pub struct Kind {
    pub name: String,
    pub count: u64,
    /// The size without page images.
    pub bytes: u64,
    pub image_bytes: u64,
}

/// The types of records between two positions, by `pg_waldump`; `None` if it is not installed.
///
/// # Errors
/// If it cannot read the log.
pub fn kinds(server: &Server, from: &str, to: &str) -> Result<Option<Vec<Kind>>> {
    if path("pg_waldump").is_none() {
        return Ok(None);
    }
    let mut dump = client("pg_waldump");
    dump.arg("-p").arg(server.data_dir().join("pg_wal")).args(["--stats=record", "-s", from, "-e", to]);
    Ok(Some(output(&mut dump)?.lines().filter_map(kind).collect()))
}

/// A line like `Heap/UPDATE  10 ( 5.0)  700 ( 2.0)  0 ( 0.0)  700 ( 1.0)`.
fn kind(line: &str) -> Option<Kind> {
    let (name, rest) = line.split_once(' ')?;
    if !name.contains('/') {
        return None;
    }
    let mut inside = false;
    let outside: String = rest
        .chars()
        .filter(|c| {
            inside |= *c == '(';
            let keep = !inside;
            inside &= *c != ')';
            keep
        })
        .collect();
    let mut numbers = outside.split_whitespace().map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    Some(Kind { name: name.to_owned(), count: next()?, bytes: next()?, image_bytes: next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line_of_pg_waldump() {
        let line =
            "Heap/HOT_UPDATE          12 ( 50.00)      840 ( 40.1)     8192 (100.00)      9032 ( 60.0)";
        let kind = kind(line).unwrap();
        assert_eq!(
            (kind.name.as_str(), kind.count, kind.bytes, kind.image_bytes),
            ("Heap/HOT_UPDATE", 12, 840, 8192)
        );
        assert!(super::kind("Type            N      (%)").is_none());
        assert!(super::kind("Total   12 (1.0)").is_none());
    }
}
