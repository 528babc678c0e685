//! The capacity of the machine without a queue, to which the other figures are related.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::pgbench::Pgbench;
use crate::queue::Queue;
use crate::report::Reading;
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;

/// Inserts a row into a plain table.
const INSERT: &str = "insert into bench.reference (payload) values ('{\"db_function\": \"bench.nothing\"}');";
/// Name of the reference for throughput.
pub const REFERENCE: &str = "INSERT, one a transaction, synchronous_commit = off";

const BLOCK: usize = 8192;
/// The number of blocks in a segment of WAL.
const BLOCKS: u64 = 2048;

pub fn run(run: &mut Run) -> Result<()> {
    let server = Server::start(&[])?;
    let _queue = Queue::open(&server)?;
    let seconds = seconds(run);
    let select = Pgbench::seconds("select 1;", seconds).run(&server)?.tps;
    run.read(Reading::new("select 1, two clients", select, "tps"));
    run.read(Reading::new(REFERENCE, reference(run, &server)?, "tps"));
    let durable = Pgbench::seconds(INSERT, seconds).run(&server)?.tps;
    let flushes = flushes(&server, Duration::from_secs(seconds))?;
    run.read(Reading::new("INSERT, durable", durable, "tps").beside("flushes of one process", flushes));
    run.read(Reading::new("8 kB write and fdatasync", flushes, "per second"));
    Ok(())
}

/// The reference for throughput, measured in the run that uses it.
///
/// # Errors
/// If pgbench fails.
pub fn reference(run: &Run, server: &Server) -> Result<f64> {
    Ok(Pgbench::seconds(INSERT, seconds(run)).asynchronous().run(server)?.tps)
}

fn seconds(run: &Run) -> u64 {
    run.scale.of(1, 5, 10)
}

/// The number of times per second that one process can flush 8 kB to the disk of the server's data.
///
/// # Errors
/// If the file cannot be written.
pub fn flushes(server: &Server, duration: Duration) -> Result<f64> {
    let path = server.home().join("flushes");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    let block = [1; BLOCK];
    // The file is written beforehand, like the server's segments, so that no flush has to store the location of blocks.
    for number in 0..BLOCKS {
        file.write_all_at(&block, number * BLOCK as u64)?;
    }
    file.sync_all()?;
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < duration {
        file.write_all_at(&block, count % BLOCKS * BLOCK as u64)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}
