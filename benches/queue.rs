//! A database with the extension: fills its queue, and waits until all tasks have ended.

use std::collections::HashMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use postgres::Client;

use crate::result::Result;
use crate::server::Server;

/// The time without progress after which workers count as stuck.
const PATIENCE: Duration = Duration::from_secs(120);
/// The pause between two checks of the workers' progress. It is in shared memory, so that a check does not slow them
/// down.
const LOOK: Duration = Duration::from_millis(50);
/// The time without a finished task after which workers may be done.
const QUIET: Duration = Duration::from_millis(400);

/// The payload of tasks whose handler does nothing.
pub const NOTHING: &str = "jsonb_build_object('db_function', 'bench.nothing')";
/// The payload of tasks whose handler inserts a row.
pub const EFFECT: &str = "jsonb_build_object('db_function', 'bench.effect', 'n', n)";
/// The payload of tasks whose handler records when it starts.
pub const START: &str = "jsonb_build_object('db_function', 'bench.start', 'n', n)";

/// A database with the extension, and a session in it.
pub struct Queue<'a> {
    pub server: &'a Server,
    pub sql: Client,
}

/// Tasks that were enqueued together, with numbers above `after`.
#[derive(Clone, Copy)]
pub struct Batch {
    pub after: i64,
    pub count: i64,
}

impl<'a> Queue<'a> {
    /// Creates the extension and the handlers in database `postgres`.
    ///
    /// # Errors
    /// If the server reports an error.
    pub fn open(server: &'a Server) -> Result<Self> {
        Self::open_in(server, "postgres")
    }

    /// The same in any database.
    ///
    /// # Errors
    /// If the server reports an error.
    pub fn open_in(server: &'a Server, database: &str) -> Result<Self> {
        let mut sql = server.connect(database)?;
        sql.batch_execute("create extension pg_errand")?;
        sql.batch_execute(include_str!("prepare.sql"))?;
        Ok(Self { server, sql })
    }

    /// The same as `open`, and lets the workers run some tasks, so that caches are filled before the measurement.
    ///
    /// # Errors
    /// If the server reports an error.
    pub fn warm(server: &'a Server, tasks: i64) -> Result<Self> {
        let mut queue = Self::open(server)?;
        let batch = queue.enqueue(NOTHING, tasks)?;
        queue.wait()?;
        queue.check(batch)?;
        Ok(queue)
    }

    /// Changes a setting of the server.
    ///
    /// # Errors
    /// If there is no such setting or value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        self.sql.batch_execute(&format!("alter system set {name} = '{value}'"))?;
        Ok(self.sql.batch_execute("select pg_reload_conf()")?)
    }

    /// True if there is such a setting.
    ///
    /// # Errors
    /// If the server reports an error.
    pub fn has_setting(&mut self, name: &str) -> Result<bool> {
        let row = self.sql.query_one("select exists (select from pg_settings where name = $1)", &[&name])?;
        Ok(row.get(0))
    }

    /// Ends the workers, so that tasks wait from now on.
    ///
    /// # Errors
    /// If the workers do not exit.
    pub fn pause(&mut self) -> Result<()> {
        self.set("pg_errand.concurrency", "0")?;
        self.wait_for_no_worker()
    }

    /// Lets two workers run the tasks that wait.
    ///
    /// # Errors
    /// If the server reports an error.
    pub fn resume(&mut self) -> Result<()> {
        self.resume_with(2)
    }

    /// Lets this number of workers run the tasks that wait.
    ///
    /// # Errors
    /// If the server reports an error.
    pub fn resume_with(&mut self, workers: u32) -> Result<()> {
        self.set("pg_errand.concurrency", &workers.to_string())
    }

    /// Waits until there is no worker process.
    ///
    /// # Errors
    /// If a worker process still exists.
    pub fn wait_for_no_worker(&mut self) -> Result<()> {
        self.wait_until("select not exists (select from queues.worker)")
    }

    /// Enqueues `count` tasks in one transaction. `payload` is an expression; `n` in it runs from 1.
    ///
    /// # Errors
    /// If the server reports an error.
    pub fn enqueue(&mut self, payload: &str, count: i64) -> Result<Batch> {
        self.enqueue_as("db_function", payload, count, "now()")
    }

    /// Enqueues tasks of any type, due at any time.
    ///
    /// # Errors
    /// If the server reports an error.
    pub fn enqueue_as(&mut self, task_type: &str, payload: &str, count: i64, due: &str) -> Result<Batch> {
        let batch = Batch { after: self.last_task()?, count };
        self.sql.batch_execute(&format!(
            "insert into queues.task (task_type, payload, scheduled_at)
             select '{task_type}', {payload}, {due} from generate_series(1, {count}) n"
        ))?;
        Ok(batch)
    }

    /// Lets the paused workers run `count` tasks that wait for them, and checks that all succeeded.
    ///
    /// # Errors
    /// If one did not.
    pub fn work_off(&mut self, payload: &str, count: i64) -> Result<Batch> {
        self.pause()?;
        let batch = self.enqueue(payload, count)?;
        self.resume()?;
        self.wait()?;
        self.check(batch)?;
        Ok(batch)
    }

    /// The highest id of a task so far.
    ///
    /// # Errors
    /// If the server reports an error.
    pub fn last_task(&mut self) -> Result<i64> {
        self.one("select coalesce(max(task_id), 0) from queues.task")
    }

    /// Waits until no task is unfinished that is due soon.
    ///
    /// # Errors
    /// If the workers make no progress.
    pub fn wait(&mut self) -> Result<()> {
        self.wait_at_most(Duration::MAX).map(drop)
    }

    /// The same for at most `limit`; false if tasks are left then. Reads the table only when the workers seem to have
    /// finished.
    ///
    /// # Errors
    /// If the workers make no progress.
    pub fn wait_at_most(&mut self, limit: Duration) -> Result<bool> {
        let begun = Instant::now();
        let mut progress = (String::new(), Instant::now());
        let mut left = (i64::MAX, Instant::now());
        while begun.elapsed() < limit {
            let now = self.progress()?;
            if now != progress.0 {
                progress = (now, Instant::now());
            } else if progress.1.elapsed() >= QUIET {
                match self.unfinished()? {
                    0 => return Ok(true),
                    count if count != left.0 => left = (count, Instant::now()),
                    count if left.1.elapsed() > PATIENCE => {
                        return Err(format!("{count} tasks stay unfinished").into());
                    }
                    _ => sleep(QUIET),
                }
            }
            sleep(LOOK);
        }
        Ok(false)
    }

    /// The number of tasks left that are due soon.
    fn unfinished(&mut self) -> Result<i64> {
        self.one(
            "select count(*) from queues.task
             where finished_at is null and scheduled_at < now() + interval '1 h'",
        )
    }

    /// Waits until a query returns true, which is run frequently.
    ///
    /// # Errors
    /// If the query does not return true in time.
    pub fn wait_until(&mut self, query: &str) -> Result<()> {
        let since = Instant::now();
        while !self.one::<bool>(query)? {
            if since.elapsed() > PATIENCE {
                return Err(format!("this stays false: {query}").into());
            }
            sleep(LOOK);
        }
        Ok(())
    }

    /// The process ids of the workers.
    ///
    /// # Errors
    /// If the server reports an error.
    pub fn workers(&mut self) -> Result<Vec<i32>> {
        Ok(self.sql.query("select pid from queues.worker", &[])?.iter().map(|row| row.get(0)).collect())
    }

    /// The only value that a query returns.
    ///
    /// # Errors
    /// If the server reports an error.
    pub fn one<T: for<'t> postgres::types::FromSql<'t>>(&mut self, query: &str) -> Result<T> {
        Ok(self.sql.query_one(query, &[])?.try_get(0)?)
    }

    /// The first column of all rows.
    ///
    /// # Errors
    /// If the server reports an error.
    pub fn numbers(&mut self, query: &str) -> Result<Vec<f64>> {
        Ok(self.sql.query(query, &[])?.iter().map(|row| row.get(0)).collect())
    }

    /// Counters of the statistics by name.
    ///
    /// # Errors
    /// If the server reports an error.
    pub fn counters(&mut self, query: &str) -> Result<HashMap<String, i64>> {
        Ok(self.sql.query(query, &[])?.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// A value that changes with each task that ends.
    fn progress(&mut self) -> Result<String> {
        self.one("select coalesce(string_agg(concat_ws(' ', pid, succeeded, failed, in_flight), ','), '') from queues.worker")
    }
}
