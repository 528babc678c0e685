//! A database with the extension: filling its queue, and waiting until everything is done.

use std::collections::HashMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use postgres::Client;

use crate::result::Result;
use crate::server::Server;

/// Workers that get nowhere for so long are stuck.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often workers are asked how far they are: in shared memory, so it costs them nothing.
const LOOK: Duration = Duration::from_millis(50);
/// Workers that have finished nothing for so long may be done.
const QUIET: Duration = Duration::from_millis(400);

/// Tasks of a size and kind.
pub const NOTHING: &str = "jsonb_build_object('db_function', 'bench.nothing')";
/// Tasks whose handler inserts a row.
pub const EFFECT: &str = "jsonb_build_object('db_function', 'bench.effect', 'n', n)";
/// Tasks whose handler notes its beginning.
pub const START: &str = "jsonb_build_object('db_function', 'bench.start', 'n', n)";

/// A database with the extension, and a session in it.
pub struct Queue<'a> {
    pub server: &'a Server,
    pub sql: Client,
}

/// Tasks that were enqueued together: those behind `after`.
#[derive(Clone, Copy)]
pub struct Batch {
    pub after: i64,
    pub count: i64,
}

impl<'a> Queue<'a> {
    /// Creates the extension and what the handlers need in database `postgres`.
    ///
    /// # Errors
    /// As the server says.
    pub fn open(server: &'a Server) -> Result<Self> {
        Self::open_in(server, "postgres")
    }

    /// The same in any database.
    ///
    /// # Errors
    /// As the server says.
    pub fn open_in(server: &'a Server, database: &str) -> Result<Self> {
        let mut sql = server.connect(database)?;
        sql.batch_execute("create extension pg_errand")?;
        sql.batch_execute(include_str!("prepare.sql"))?;
        Ok(Self { server, sql })
    }

    /// Likewise; and lets the workers run some tasks, so that nothing measured is the first of its kind.
    ///
    /// # Errors
    /// As the server says.
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
    /// There is no such setting or value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        self.sql.batch_execute(&format!("alter system set {name} = '{value}'"))?;
        Ok(self.sql.batch_execute("select pg_reload_conf()")?)
    }

    /// Whether there is such a setting.
    ///
    /// # Errors
    /// As the server says.
    pub fn has_setting(&mut self, name: &str) -> Result<bool> {
        let row = self.sql.query_one("select exists (select from pg_settings where name = $1)", &[&name])?;
        Ok(row.get(0))
    }

    /// Ends the workers; tasks wait from now on.
    ///
    /// # Errors
    /// They do not end.
    pub fn pause(&mut self) -> Result<()> {
        self.set("pg_errand.concurrency", "0")?;
        self.wait_for_no_worker()
    }

    /// Has two workers run what waits.
    ///
    /// # Errors
    /// As the server says.
    pub fn resume(&mut self) -> Result<()> {
        self.resume_with(2)
    }

    /// Has so many workers run what waits.
    ///
    /// # Errors
    /// As the server says.
    pub fn resume_with(&mut self, workers: u32) -> Result<()> {
        self.set("pg_errand.concurrency", &workers.to_string())
    }

    /// Waits until there is no worker process.
    ///
    /// # Errors
    /// There still is one.
    pub fn wait_for_no_worker(&mut self) -> Result<()> {
        self.wait_until("select not exists (select from queues.worker)")
    }

    /// Enqueues `count` tasks in one transaction. `payload` is an expression; `n` in it runs from 1.
    ///
    /// # Errors
    /// As the server says.
    pub fn enqueue(&mut self, payload: &str, count: i64) -> Result<Batch> {
        self.enqueue_as("db_function", payload, count, "now()")
    }

    /// The same of any type, due at any time.
    ///
    /// # Errors
    /// As the server says.
    pub fn enqueue_as(&mut self, kind: &str, payload: &str, count: i64, due: &str) -> Result<Batch> {
        let batch = Batch { after: self.last_task()?, count };
        self.sql.batch_execute(&format!(
            "insert into queues.task (task_type, payload, scheduled_at)
             select '{kind}', {payload}, {due} from generate_series(1, {count}) n"
        ))?;
        Ok(batch)
    }

    /// Lets the paused workers run `count` tasks that wait for them, and checks that all succeeded.
    ///
    /// # Errors
    /// They did not.
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
    /// As the server says.
    pub fn last_task(&mut self) -> Result<i64> {
        self.one("select coalesce(max(task_id), 0) from queues.task")
    }

    /// Waits until no task is unfinished that is due soon.
    ///
    /// # Errors
    /// The workers get nowhere.
    pub fn wait(&mut self) -> Result<()> {
        self.wait_at_most(Duration::MAX).map(drop)
    }

    /// The same for at most `limit`; false if something is left then. Looks at the table only when the workers seem
    /// to be done.
    ///
    /// # Errors
    /// The workers get nowhere.
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

    /// How many tasks are left that are due soon.
    fn unfinished(&mut self) -> Result<i64> {
        self.one(
            "select count(*) from queues.task
             where finished_at is null and scheduled_at < now() + interval '1 h'",
        )
    }

    /// Waits until a query returns true; it is asked often.
    ///
    /// # Errors
    /// It never does.
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

    /// Checks that all tasks of a batch are there and succeeded, at their first attempt.
    ///
    /// # Errors
    /// One did not.
    pub fn check(&mut self, batch: Batch) -> Result<()> {
        let row = self.sql.query_one(
            "select count(*), count(*) filter (where final_status = 'succeeded' and attempts = 1)
             from queues.task where task_id > $1 and task_id <= $1 + $2",
            &[&batch.after, &batch.count],
        )?;
        let (there, succeeded): (i64, i64) = (row.get(0), row.get(1));
        if (there, succeeded) == (batch.count, batch.count) {
            return Ok(());
        }
        let error = self.one::<Option<String>>("select max(error_message) from queues.error")?;
        let count = batch.count;
        Err(format!("of {count} tasks {there} are there and {succeeded} succeeded; error: {error:?}").into())
    }

    /// Checks that no task at all has ended in another way.
    ///
    /// # Errors
    /// One has.
    pub fn check_all(&mut self) -> Result<()> {
        match self.one("select count(*) from queues.task where final_status <> 'succeeded'")? {
            0_i64 => Ok(()),
            wrong => Err(format!("{wrong} tasks did not succeed").into()),
        }
    }

    /// Checks that the handlers of `count` tasks each left one row with a number of its own in a table, and empties it.
    ///
    /// # Errors
    /// A row is missing or there twice.
    pub fn check_effects(&mut self, table: &str, count: i64) -> Result<()> {
        let row = self.sql.query_one(&format!("select count(*), count(distinct n) from {table}"), &[])?;
        let (rows, numbers): (i64, i64) = (row.get(0), row.get(1));
        if (rows, numbers) != (count, count) {
            return Err(format!("{count} tasks left {rows} rows, {numbers} different ones").into());
        }
        Ok(self.sql.batch_execute(&format!("truncate {table}"))?)
    }

    /// When the first task of a batch began and the last one ended, in seconds since 1970.
    ///
    /// # Errors
    /// As the server says.
    pub fn course(&mut self, batch: Batch) -> Result<(f64, f64)> {
        let row = self.sql.query_one(
            "select extract(epoch from min(dequeued_at))::float8, extract(epoch from max(finished_at))::float8
             from queues.task where task_id > $1 and task_id <= $1 + $2",
            &[&batch.after, &batch.count],
        )?;
        Ok((row.get(0), row.get(1)))
    }

    /// Tasks a second in between.
    ///
    /// # Errors
    /// As the server says.
    pub fn rate(&mut self, batch: Batch) -> Result<f64> {
        let (first, last) = self.course(batch)?;
        Ok(batch.count as f64 / (last - first))
    }

    /// The process ids of the workers.
    ///
    /// # Errors
    /// As the server says.
    pub fn workers(&mut self) -> Result<Vec<i32>> {
        Ok(self.sql.query("select pid from queues.worker", &[])?.iter().map(|row| row.get(0)).collect())
    }

    /// The only value that a query returns.
    ///
    /// # Errors
    /// As the server says.
    pub fn one<T: for<'t> postgres::types::FromSql<'t>>(&mut self, query: &str) -> Result<T> {
        Ok(self.sql.query_one(query, &[])?.try_get(0)?)
    }

    /// The first column of all rows.
    ///
    /// # Errors
    /// As the server says.
    pub fn numbers(&mut self, query: &str) -> Result<Vec<f64>> {
        Ok(self.sql.query(query, &[])?.iter().map(|row| row.get(0)).collect())
    }

    /// Counters of the statistics by name.
    ///
    /// # Errors
    /// As the server says.
    pub fn counters(&mut self, query: &str) -> Result<HashMap<String, i64>> {
        Ok(self.sql.query(query, &[])?.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// What changes with each task that ends.
    fn progress(&mut self) -> Result<String> {
        self.one("select coalesce(string_agg(concat_ws(' ', pid, succeeded, failed, in_flight), ','), '') from queues.worker")
    }
}
