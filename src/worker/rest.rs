//! Rest: a worker without work waits for an announcement, for the time when a task falls due, or for a provider's
//! response.

use super::calls::Calls;
use super::tables::Tables;
use crate::config;
use crate::error::PgError;
use crate::inject;
use crate::pg::spi::{Statement, timestamp};
use crate::pg::wait_event::WaitEvent;
use crate::pg::{activity, backend, latch, transaction};
use crate::shared::{NEVER, Rest};
use crate::slot::MySlot;
use pgrx::IntoDatum;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::BuiltinOid::{INT8OID, TIMESTAMPTZOID};
use std::time::Duration;

static NEXT_DUE: Statement =
    Statement::new(include_str!("../../sql/runtime/next_due.sql"), &[TIMESTAMPTZOID, INT8OID]);

/// Looks up when the next task falls due, in a transaction of its own. `looked_at` is a time before the claim that
/// found no task, so that no task that falls due in between is missed.
pub fn look_ahead(tables: &Tables, looked_at: i64) -> Result<Rest, PgError> {
    transaction::commit_after(|| next_due(tables, looked_at))
}

/// Lets another worker wait for the next task that falls due while this one is busy. This runs in the transaction that
/// has claimed a task.
pub fn pass_on_due(slot: MySlot, tables: &Tables, looked_at: i64) {
    slot.note_due(next_due(tables, looked_at).next_due);
}

fn next_due(tables: &Tables, looked_at: i64) -> Rest {
    tables
        .as_owner(|| {
            NEXT_DUE.row(&[timestamp(looked_at), tables.origin.into_datum()], |row| Rest {
                next_due: row.get::<TimestampWithTimeZone>(c"next_due").map_or(NEVER, i64::from),
                nothing_prepared: row.get(c"nothing_prepared").unwrap_or_default(),
            })
        })
        .unwrap_or(Rest { next_due: NEVER, nothing_prepared: false })
}

/// Waits until there may be work again, for at most `limit`. `announced` was read before the worker last looked for
/// work: if anything has been announced since, this returns false immediately.
pub fn wait(slot: MySlot, calls: &Calls, announced: u64, rest: Option<Rest>, limit: Duration) -> bool {
    inject::point("looked");
    let Some(next_due) = slot.go_idle(announced, rest) else { return false };
    report_waiting(calls);
    let until_due = Duration::from_micros(next_due.saturating_sub(backend::now()).max(0) as u64);
    let poll = config::POLL_INTERVAL.duration();
    latch::wait(event_of(calls), Some(calls.readable()), limit.min(poll).min(until_due));
    calls.clear();
    true
}

/// Waits only for responses, for at most `limit`.
pub fn wait_for_calls(calls: &Calls, limit: Duration) {
    report_waiting(calls);
    let until_repeat = calls.next_repeat().unwrap_or(Duration::MAX);
    latch::wait(event_of(calls), Some(calls.readable()), limit.min(until_repeat));
    calls.clear();
}

fn event_of(calls: &Calls) -> WaitEvent {
    if calls.tasks() == 0 { WaitEvent::Idle } else { WaitEvent::Calls }
}

/// Reports in `pg_stat_activity` what an idle worker waits for.
fn report_waiting(calls: &Calls) {
    match calls.tasks() {
        0 => activity::idle(),
        calls => activity::running(format_args!("waiting for {calls} provider calls")),
    }
}
