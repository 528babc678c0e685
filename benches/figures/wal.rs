//! The amount of WAL of a task from its claim to its end. These counts do not depend on a clock.

use std::collections::HashMap;
use std::fmt::Write;

use super::throughput::WARM;
use crate::queue::{NOTHING, Queue};
use crate::report::{Asked, Reading, number};
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;
use crate::wal::{Kind, Wal, kinds};

/// The target in bytes per task.
const ASKED: Asked = Asked::AtMost(300.0);

pub fn run(run: &mut Run) -> Result<()> {
    let tasks = run.scale.of(2000, 20_000, 20_000);
    // The WAL of autovacuum would be counted, too.
    let server = Server::start(&[("autovacuum", "off")])?;
    let mut queue = Queue::warm(&server, WARM)?;
    queue.pause()?;
    let batch = queue.enqueue(NOTHING, tasks)?;
    queue.sql.batch_execute("checkpoint")?;
    let before = Wal::settled(&mut queue)?;
    let rows_before = rows(&mut queue)?;
    let from = position(&mut queue)?;
    queue.resume()?;
    queue.wait()?;
    let to = position(&mut queue)?;
    let wal = Wal::settled(&mut queue)?.since(before);
    let rows = rows(&mut queue)?;
    queue.check(batch)?;

    let each = |count: i64| count as f64 / tasks as f64;
    run.read(Reading::new("all after a checkpoint", each(wal.bytes), "bytes/task").asked(ASKED));
    run.read(Reading::new("records", each(wal.records), "per task"));
    run.read(Reading::new("page images", each(wal.page_images), "per task"));
    for name in ["n_tup_ins", "n_tup_upd", "n_tup_hot_upd", "n_tup_del"] {
        let count = rows.get(name).unwrap_or(&0) - rows_before.get(name).unwrap_or(&0);
        run.read(Reading::new(format!("queues.task: {name}"), each(count), "per task"));
    }
    match kinds(&server, &from, &to)? {
        Some(kinds) => by_kind(run, &kinds, tasks),
        None => run.note("pg_waldump is not installed; bytes without page images were left out"),
    }
    Ok(())
}

fn by_kind(run: &mut Run, kinds: &[Kind], tasks: i64) {
    let each = |count: u64| count as f64 / tasks as f64;
    let bytes = kinds.iter().map(|kind| kind.bytes).sum();
    let entries =
        kinds.iter().filter(|kind| kind.name.starts_with("Btree/INSERT")).map(|kind| kind.count).sum();
    run.read(Reading::new("without page images", each(bytes), "bytes/task").asked(ASKED));
    run.read(Reading::new("index entries", each(entries), "per task"));
    let mut text = String::from(
        "records per task\n\n| record | count | bytes | page images, bytes |\n| --- | --- | --- | --- |",
    );
    for kind in kinds.iter().filter(|kind| kind.count > 0) {
        let Kind { name, count, bytes, image_bytes } = kind;
        let [count, bytes, images] = [count, bytes, image_bytes].map(|count| number(each(*count)));
        let _ = write!(text, "\n| {name} | {count} | {bytes} | {images} |");
    }
    run.note(text);
}

fn position(queue: &mut Queue) -> Result<String> {
    // pg_waldump cannot start at an insert position right after the header of a page.
    queue.one("select pg_current_wal_insert_lsn()::text from (select txid_current()) x")
}

fn rows(queue: &mut Queue) -> Result<HashMap<String, i64>> {
    queue.counters(
        "select c.* from pg_stat_user_tables t, lateral (values
             ('n_tup_ins', n_tup_ins), ('n_tup_upd', n_tup_upd),
             ('n_tup_hot_upd', n_tup_hot_upd), ('n_tup_del', n_tup_del)) c
         where relid = 'queues.task'::regclass",
    )
}
