//! Checks whether all tasks of a batch ran as they should, and how fast.

use crate::queue::{Batch, Queue};
use crate::result::Result;

impl Queue<'_> {
    /// Checks that all tasks of a batch exist and succeeded at their first attempt.
    ///
    /// # Errors
    /// If one did not.
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

    /// Checks that no task has failed or was cancelled.
    ///
    /// # Errors
    /// If one has.
    pub fn check_all(&mut self) -> Result<()> {
        match self.one("select count(*) from queues.task where final_status <> 'succeeded'")? {
            0_i64 => Ok(()),
            wrong => Err(format!("{wrong} tasks did not succeed").into()),
        }
    }

    /// Checks that the handlers of `count` tasks each left one row with a number of its own in a table, and empties it.
    ///
    /// # Errors
    /// If a row is missing or exists twice.
    pub fn check_effects(&mut self, table: &str, count: i64) -> Result<()> {
        let row = self.sql.query_one(&format!("select count(*), count(distinct n) from {table}"), &[])?;
        let (rows, numbers): (i64, i64) = (row.get(0), row.get(1));
        if (rows, numbers) != (count, count) {
            return Err(format!("{count} tasks left {rows} rows, {numbers} different ones").into());
        }
        Ok(self.sql.batch_execute(&format!("truncate {table}"))?)
    }

    /// The times at which the first task of a batch started and the last one ended, in seconds since 1970.
    ///
    /// # Errors
    /// If the server reports an error.
    pub fn course(&mut self, batch: Batch) -> Result<(f64, f64)> {
        let row = self.sql.query_one(
            "select extract(epoch from min(dequeued_at))::float8, extract(epoch from max(finished_at))::float8
             from queues.task where task_id > $1 and task_id <= $1 + $2",
            &[&batch.after, &batch.count],
        )?;
        Ok((row.get(0), row.get(1)))
    }

    /// The rate between these times, in tasks per second.
    ///
    /// # Errors
    /// If the server reports an error.
    pub fn rate(&mut self, batch: Batch) -> Result<f64> {
        let (first, last) = self.course(batch)?;
        Ok(batch.count as f64 / (last - first))
    }
}
