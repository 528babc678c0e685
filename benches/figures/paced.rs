//! A load at a fixed rate for some time, of tasks that record how long they waited.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::pgbench::Pgbench;
use crate::queue::Queue;
use crate::result::Result;

/// The pause between two observations of the load.
const LOOK: Duration = Duration::from_secs(1);

/// The tasks per second, the duration in seconds, and the tasks per transaction.
pub struct Paced {
    pub rate: f64,
    pub seconds: u64,
    pub batch: u32,
}

impl Paced {
    /// Runs the load to its end. `look` is invoked once a second with the seconds since the start. Returns the number
    /// of enqueued tasks.
    ///
    /// # Errors
    /// If the load or `look` fails.
    pub fn run(&self, queue: &mut Queue, mut look: impl FnMut(&mut Queue, f64) -> Result<()>) -> Result<i64> {
        let script = format!(
            "insert into queues.task (task_type, payload)
             select 'db_function', jsonb_build_object('db_function', 'bench.start', 'at', clock_timestamp())
             from generate_series(1, {});",
            self.batch
        );
        let rate = self.rate / f64::from(self.batch);
        let mut load =
            Pgbench::seconds(&script, self.seconds).rate(rate).asynchronous().start(queue.server)?;
        let begun = Instant::now();
        while load.is_running() {
            look(queue, begun.elapsed().as_secs_f64())?;
            sleep(LOOK);
        }
        let transactions = load.finish()?.transactions;
        Ok(i64::try_from(transactions)? * i64::from(self.batch))
    }
}

/// Checks that each task has left one note.
///
/// # Errors
/// If a task has left no note, or two.
pub fn check(queue: &mut Queue, tasks: i64) -> Result<()> {
    queue.check_all()?;
    match queue.one::<i64>("select count(*) from bench.pickup")? {
        notes if notes == tasks => Ok(()),
        notes => Err(format!("{tasks} tasks left {notes} notes").into()),
    }
}

/// The number of dead row versions of queues.task, according to the statistics.
///
/// # Errors
/// If the server reports an error.
pub fn dead(queue: &mut Queue) -> Result<f64> {
    let query = "select n_dead_tup::float8 from pg_stat_user_tables where relid = 'queues.task'::regclass";
    queue.one(query)
}
