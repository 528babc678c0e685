//! Advice: sentences that are computed from the facts, and only said if they are true.

use crate::facts::{Counted, Facts, Lock};
use crate::number::{duration, integer, percent};
use crate::text::{MESSAGE, NAME, count, shown};

/// A share of the time, of tasks or of calls that is worth a sentence.
const MOST_OF_TIME: f64 = 0.5;
const MANY_FAILURES: f64 = 0.05;
const MANY_FAILED_CALLS: f64 = 0.1;
const GROWTH: f64 = 0.1;
const NEARLY_ALWAYS: f64 = 0.8;
/// The number of tasks or calls below which no share of them is reported.
const ENOUGH: i64 = 20;

/// The sentences, the most urgent one first.
pub fn of(facts: &Facts) -> Vec<String> {
    let mut advice = locks(facts);
    advice.extend(growth(facts));
    advice.extend(backlog(facts));
    advice.extend(busy(facts));
    advice.extend(failures(facts));
    advice.extend(failed_calls(facts));
    advice.extend(slow_handler(facts));
    advice
}

fn locks(facts: &Facts) -> Vec<String> {
    let (Ok(locks), Ok(head)) = (&facts.locks, &facts.head) else { return Vec::new() };
    locks.rows.iter().map(|lock| lock_of(lock, head.made_at)).collect()
}

fn lock_of(lock: &Lock, now: f64) -> String {
    let wait = if lock.workers == 1 { "waits" } else { "wait" };
    let ago = |since: Option<f64>| {
        since.map_or_else(String::new, |since| format!(" for {}", duration((now - since) * 1000.0)))
    };
    let by = lock.role.as_ref().map_or_else(String::new, |role| format!(" of role {}", shown(role, NAME)));
    let query = lock.query.as_deref().map(|query| shown(query, MESSAGE)).unwrap_or_default();
    let what = match lock.state.as_deref() {
        Some("active") => format!("{by}, which runs{}: {query}", ago(lock.since)),
        Some(state) if state.starts_with("idle in transaction") => {
            format!(
                "{by}, which is idle in a transaction{}. Its last statement: {query}",
                ago(lock.changed_at)
            )
        }
        _ => by,
    };
    format!(
        "{} {wait} for a lock of process {pid}{what}. To end it: SELECT pg_terminate_backend({pid});",
        count(lock.workers, "worker"),
        pid = lock.pid
    )
}

/// Tasks that wait and may start as soon as a worker is free.
fn due(facts: &Facts) -> i64 {
    facts.waiting.as_ref().map_or(0, |waiting| waiting.tasks - waiting.scheduled)
}

fn growth(facts: &Facts) -> Option<String> {
    let pace = facts.pace.as_ref().ok()?;
    let enqueued = pace.enqueued?;
    let growth = enqueued - pace.ended;
    let matters = growth >= ENOUGH && growth as f64 >= pace.ended as f64 * GROWTH;
    let waiting = facts.waiting.as_ref().ok()?.tasks;
    (matters && waiting >= growth).then(|| {
        format!(
            "The queue grows by about {} per hour: within the last hour {} were enqueued, and {} ended.",
            count(growth, "task"),
            integer(enqueued),
            integer(pace.ended)
        )
    })
}

fn backlog(facts: &Facts) -> Option<String> {
    let ended = facts.pace.as_ref().ok()?.ended;
    let due = due(facts);
    let hours = due as f64 / ended as f64;
    (ended >= ENOUGH && hours >= 1.0).then(|| {
        format!(
            "{} wait that are due. At the pace of the last hour ({} per hour) they take {}.",
            count(due, "task"),
            integer(ended),
            duration(hours * 3_600_000.0)
        )
    })
}

fn busy(facts: &Facts) -> Option<String> {
    let bins = &facts.history.as_ref().ok()?.bins;
    let workers: i64 = facts.settings.as_ref().ok()?.concurrency.as_ref()?.parse().ok()?;
    let busy = bins.iter().filter(|bin| bin.busy_workers >= workers).count();
    let share = busy as f64 / bins.len().max(1) as f64;
    let matters = workers > 0 && bins.len() >= 10 && share >= NEARLY_ALWAYS && due(facts) >= ENOUGH;
    matters.then(|| {
        format!(
            "All {} were busy in {} of the plotted steps, and {} wait that are due. Raise pg_errand.concurrency if the server \
             has processors to spare.",
            count(workers, "worker"),
            percent(share, 1.0).unwrap_or_default(),
            count(due(facts), "task")
        )
    })
}

fn failures(facts: &Facts) -> Option<String> {
    let bins = &facts.history.as_ref().ok()?.bins;
    let failed: i64 = bins.iter().map(|bin| bin.failed).sum();
    let ended: i64 = bins.iter().map(crate::facts::Bin::ended).sum();
    let matters = ended >= ENOUGH && failed as f64 >= ended as f64 * MANY_FAILURES;
    matters.then(|| {
        format!(
            "{} of the tasks that ended have failed ({} of {}).",
            percent(failed as f64, ended as f64).unwrap_or_default(),
            integer(failed),
            integer(ended)
        )
    })
}

fn failed_calls(facts: &Facts) -> Vec<String> {
    let Ok(stats) = &facts.stats else { return Vec::new() };
    let sentence = |row: &Counted| {
        // Calls whose request could not be sent are not among the requests.
        let (calls, failed) = (row.calls?.max(row.failed_calls?), row.failed_calls?);
        let matters = calls >= ENOUGH && failed as f64 >= calls as f64 * MANY_FAILED_CALLS;
        matters.then(|| {
            format!(
                "{} of the calls to provider {} have failed for task type {} ({} of {}).",
                percent(failed as f64, calls as f64).unwrap_or_default(),
                shown(row.provider.as_deref().unwrap_or_default(), NAME),
                shown(&row.task_type, NAME),
                integer(failed),
                integer(calls)
            )
        })
    };
    stats.rows.iter().filter_map(sentence).take(5).collect()
}

fn slow_handler(facts: &Facts) -> Option<String> {
    let stats = facts.stats.as_ref().ok()?;
    let all = stats.handler_time.filter(|time| *time > 10_000.0)?;
    let handlers: Vec<&Counted> = stats.rows.iter().filter(|row| row.kind == "handler").collect();
    let slowest =
        handlers.iter().max_by(|a, b| a.weight.unwrap_or(0.0).total_cmp(&b.weight.unwrap_or(0.0)))?;
    let time = slowest.weight?;
    (handlers.len() > 1 && time >= all * MOST_OF_TIME).then(|| {
        format!(
            "{} of the time of all handlers is spent in {}: {} invocations, {} on average.",
            percent(time, all).unwrap_or_default(),
            shown(slowest.handler.as_deref().unwrap_or_default(), NAME),
            integer(slowest.invocations.unwrap_or_default()),
            duration(time / slowest.invocations.unwrap_or(1).max(1) as f64)
        )
    })
}
