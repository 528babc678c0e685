//! The history of the statistics: each minute in which something ended, a worker of the database adds a row, sums up the
//! hour that is over, and removes old rows.

use super::tables::Tables;
use crate::config::LogLevel;
use crate::error::PgError;
use crate::pg::spi::{Arg, Statement, timestamp};
use crate::pg::{activity, jsonb, log, shmem, transaction};
use crate::problems::Problems;
use crate::shared::ToId;
use crate::slot::MySlot;
use crate::stats::history::{self, Unwritten};
use crate::unwritten;
use pg_errand_stats::Summary;
use pgrx::IntoDatum;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::BuiltinOid::{FLOAT8ARRAYOID, INT4OID, INT8ARRAYOID, JSONBOID, TEXTOID, TIMESTAMPTZOID};
use std::time::{Duration, Instant};

static LOCK: Statement = Statement::new(include_str!("../../sql/runtime/history_lock.sql"), &[]);
static INSERT: Statement = Statement::new(
    include_str!("../../sql/runtime/history_insert.sql"),
    &[TIMESTAMPTZOID, TEXTOID, INT8ARRAYOID, FLOAT8ARRAYOID, INT4OID, JSONBOID],
);
static HOUR: Statement =
    Statement::new(include_str!("../../sql/runtime/history_hour.sql"), &[TIMESTAMPTZOID]);
static REMOVE: Statement =
    Statement::new(include_str!("../../sql/runtime/history_remove.sql"), &[TIMESTAMPTZOID]);

const MINUTE: i64 = 60_000_000;
const HOUR_LENGTH: i64 = 60 * MINUTE;
/// The time between two looks at the clock of a busy worker.
const LOOK: Duration = Duration::from_secs(1);
/// The number of hours that are summed up at once.
const MAX_HOURS: usize = 3;

/// When a worker writes the history.
pub struct History {
    /// The minute in which this worker last looked whether the history has to be written.
    minute: i64,
    looked_at: Instant,
    /// This worker has done something that the history may not have.
    is_due: bool,
    problems: Problems<&'static str>,
}

impl Default for History {
    fn default() -> Self {
        let problems = Problems::default();
        History { minute: history::now().1, looked_at: Instant::now(), is_due: false, problems }
    }
}

impl History {
    /// Notes that the worker has done something.
    pub fn note(&mut self) {
        self.is_due = true;
    }

    /// Writes the history if a minute is over in which something has happened; otherwise returns the time until then.
    pub fn step(&mut self, slot: MySlot, tables: &Tables) -> Option<Duration> {
        if !self.is_due {
            return None;
        }
        let left = LOOK.saturating_sub(self.looked_at.elapsed());
        if !left.is_zero() {
            return Some(left);
        }
        self.looked_at = Instant::now();
        let (now, minute) = history::now();
        if minute == self.minute {
            let left = (minute + 1) * MINUTE - now;
            return Some(Duration::from_micros(left.max(0) as u64));
        }
        self.minute = minute;
        self.is_due = false;
        if history::begin_minute(minute)
            && let Some(unwritten) = history::unwritten()
        {
            self.write(slot, tables, &unwritten, now);
        }
        None
    }

    fn write(&mut self, slot: MySlot, tables: &Tables, new: &Unwritten, now: i64) {
        activity::running(format_args!("writing the history of statistics"));
        // What ends at the same time as the row is written belongs to the next minute.
        let at = new.until.min(now - MINUTE).div_euclid(MINUTE) * MINUTE;
        let busy = shmem::read(|shared| {
            shared.slots_of(slot.database.id()).filter(|other| other.is_live() && other.is_busy()).count()
        });
        let written = transaction::commit_after(|| {
            tables.as_owner(|| {
                LOCK.run(&[]);
                insert(at, "minute", &new.summary, busy as i32);
            });
            transaction::commit_asynchronously();
        });
        if written.is_ok() {
            new.note_written();
        }
        self.report("a row", written);
        let tidied = transaction::commit_after(|| {
            tables.as_owner(|| {
                LOCK.run(&[]);
                // There may be several after a while in which nothing has happened.
                let _ = (0..MAX_HOURS).all(|_| sum_up_hour(now));
                REMOVE.run(&[timestamp(now)]);
            });
            transaction::commit_asynchronously();
        });
        self.report("an hour", tidied);
    }

    /// Logs a problem once. It is no reason to do anything else later than usual.
    fn report(&mut self, what: &'static str, result: Result<(), PgError>) {
        match result {
            Ok(()) => self.problems.withdraw(&what),
            Err(error) if self.problems.is_new(what, &error.message) => log::event_with_hint(
                LogLevel::Warning,
                format!("{what} of queues.stats_history cannot be written: {}", error.message),
                "Statistics are counted nevertheless, see queues.stats; the next row has what this one lacks.".into(),
            ),
            Err(_) => {}
        }
    }
}

/// Adds a row. Raises an error if a trigger or rule has suppressed it.
fn insert(at: i64, resolution: &str, summary: &Summary, busy: i32) {
    let total = summary.total();
    let details = serde_json::to_string(summary).unwrap_or_else(|_| "{}".to_owned());
    let args: [Arg; 6] = [
        timestamp(at),
        resolution.into_datum(),
        history::counters(&total).into_datum(),
        history::quantiles(&total).into_datum(),
        busy.into_datum(),
        Some(jsonb::from_text(&details)),
    ];
    if INSERT.run(&args) == 0 {
        unwritten::refuse_history();
    }
}

/// Adds the row of the first hour that is over and has none; false if each has one. Rows of minutes that a user has changed are left out.
fn sum_up_hour(now: i64) -> bool {
    let this_hour = now.div_euclid(HOUR_LENGTH) * HOUR_LENGTH;
    let minutes = HOUR.rows(&[timestamp(this_hour)], |row| {
        let at = row.get::<TimestampWithTimeZone>(c"at").map(i64::from);
        let details: Option<String> = row.get(c"details");
        (at, row.get::<i32>(c"busy_workers").unwrap_or_default(), details.unwrap_or_default())
    });
    let Some(at) = minutes.first().and_then(|(at, ..)| *at) else { return false };
    let mut sum = Summary::default();
    minutes
        .iter()
        .filter_map(|(.., details)| serde_json::from_str::<Summary>(details).ok())
        .for_each(|minute| sum.add(&minute));
    let busy = minutes.iter().map(|(_, busy, _)| *busy).max().unwrap_or_default();
    sum.limit(history::MAX_DETAILS);
    insert(at, "hour", &sum, busy);
    true
}
