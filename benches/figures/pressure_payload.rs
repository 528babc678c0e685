//! Larger payloads, of text that does not compress well.

use super::throughput::WARM;
use crate::queue::{NOTHING, Queue};
use crate::report::Reading;
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;

const SIZES: [u32; 3] = [100, 2000, 20_000];

pub fn run(run: &mut Run) -> Result<()> {
    let tasks = run.scale.of(1000, 20_000, 100_000);
    let server = Server::start(&[])?;
    let mut queue = Queue::warm(&server, WARM)?;
    let batch = queue.work_off(NOTHING, tasks)?;
    let small = queue.rate(batch)?;
    for size in SIZES {
        let batch = queue.work_off(&payload(size), tasks)?;
        let reading = Reading::new(format!("payloads of {size} bytes"), queue.rate(batch)?, "tasks/s");
        run.read(reading.beside("of 32 bytes", small));
    }
    Ok(())
}

/// Each task has a different text.
fn payload(size: u32) -> String {
    let pieces = size.div_ceil(32);
    format!(
        "jsonb_build_object('db_function', 'bench.nothing', 'text',
             (select left(string_agg(md5(concat(n, '-', piece)), ''), {size}) from generate_series(1, {pieces}) piece))"
    )
}
