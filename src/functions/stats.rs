//! Functions of `sql/84_stats.sql`.

use super::shown;
use crate::pg::{backend, log, stats_memory};
use crate::stats;
use crate::stats::view::{self, Shown};
use pg_errand_stats::{Distribution, ENTRIES, Kind, SLOT, Status, TaskCount, Time};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

/// The bounds of the buckets that are shown are 2 to the power of these, in microseconds.
const BOUNDS: [u32; 19] = [6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 42];

/// `errand.count_task(…)`.
#[pg_extern(sql = false)]
#[expect(clippy::too_many_arguments, reason = "the arguments of the SQL function")]
fn count_task(
    task_id: Option<i64>,
    task_type: Option<&str>,
    status: Option<&str>,
    attempts: Option<i32>,
    errors: Option<i32>,
    ready_at: Option<TimestampWithTimeZone>,
    began_at: Option<TimestampWithTimeZone>,
    had_succeeded: Option<bool>,
) {
    let Some(task_type) = task_type else { return };
    let now = backend::now();
    let passed = |since: TimestampWithTimeZone| now.saturating_sub(i64::from(since));
    let count = TaskCount {
        task_id: task_id.unwrap_or_default(),
        attempts: attempts.unwrap_or_default(),
        errors: errors.unwrap_or_default(),
        ended: status.and_then(status_named),
        had_succeeded: had_succeeded == Some(true),
        waiting: ready_at.map(passed),
        running: began_at.map(passed),
        ..TaskCount::default()
    };
    stats::note_task(task_type, count);
}

fn status_named(name: &str) -> Option<Status> {
    match name {
        "succeeded" => Some(Status::Succeeded),
        "failed" => Some(Status::Failed),
        "cancelled" => Some(Status::Cancelled),
        _ => None,
    }
}

/// `errand.stats()`.
#[pg_extern(name = "stats", sql = false)]
#[allow(clippy::type_complexity)]
fn stats_rows() -> TableIterator<
    'static,
    (
        name!(task_type, String),
        name!(handler, Option<String>),
        name!(invoked_as, Option<String>),
        name!(provider, Option<String>),
        name!(counts, Vec<i64>),
        name!(waiting, Option<Vec<f64>>),
        name!(running, Option<Vec<f64>>),
        name!(provider_time, Option<Vec<f64>>),
        name!(stats_since, Option<TimestampWithTimeZone>),
    ),
> {
    require_select("stats");
    TableIterator::new(view::entries().into_iter().map(|shown| {
        let figures = |time| times_of(&shown, time).and_then(view::figures);
        let times = [Time::Waiting, Time::Running, Time::Provider].map(figures);
        let (counts, since) = (shown.counts.counts.to_vec(), TimestampWithTimeZone::try_from(shown.since));
        let [waiting, running, provider_time] = times;
        let Names { task_type, handler, invoked_as, provider } = names(&shown);
        (task_type, handler, invoked_as, provider, counts, waiting, running, provider_time, since.ok())
    }))
}

/// `errand.stats_buckets()`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn stats_buckets() -> TableIterator<
    'static,
    (
        name!(task_type, String),
        name!(handler, Option<String>),
        name!(invoked_as, Option<String>),
        name!(provider, Option<String>),
        name!(measured, String),
        name!(le, f64),
        name!(count, i64),
        name!(sum, f64),
    ),
> {
    require_select("stats_buckets");
    let times = [("waiting", Time::Waiting), ("running", Time::Running), ("provider", Time::Provider)];
    let rows = view::entries().into_iter().flat_map(move |shown| {
        let of_entry = times.into_iter().flat_map(|(measured, time)| {
            let times = times_of(&shown, time);
            times.map_or_else(Vec::new, buckets).into_iter().map(move |bucket| (measured, bucket))
        });
        let rows = of_entry.map(|(measured, (le, count, sum))| {
            let Names { task_type, handler, invoked_as, provider } = names(&shown);
            (task_type, handler, invoked_as, provider, measured.to_owned(), le, count, sum)
        });
        rows.collect::<Vec<_>>()
    });
    TableIterator::new(rows)
}

/// The upper bounds of the shown buckets with the cumulative counts, and the sum of all times; in milliseconds.
fn buckets(times: &Distribution) -> Vec<(f64, i64, f64)> {
    let sum = times.sum as f64 / 1000.0;
    let below = BOUNDS.map(|exponent| ((1u64 << exponent) as f64 / 1000.0, times.count_below(exponent)));
    let all = below.into_iter().chain([(f64::INFINITY, times.count())]);
    all.map(|(le, count)| (le, count as i64, sum)).collect()
}

/// A histogram of an entry, if entries of its kind have it.
fn times_of(shown: &Shown, time: Time) -> Option<&Distribution> {
    let has = matches!(
        (shown.kind, time),
        (Kind::Tasks, Time::Waiting | Time::Running)
            | (Kind::Handler, Time::Running)
            | (Kind::Calls, Time::Provider)
    );
    has.then(|| shown.counts.time(time)).filter(|times| times.count() > 0)
}

struct Names {
    task_type: String,
    handler: Option<String>,
    invoked_as: Option<String>,
    provider: Option<String>,
}

fn names(shown: &Shown) -> Names {
    let name_if = |kind: Kind| (shown.kind == kind).then(|| shown.name.clone());
    Names {
        task_type: shown.task_type.clone(),
        handler: name_if(Kind::Handler),
        invoked_as: (shown.kind == Kind::Handler).then(|| shown.role.to_owned()),
        provider: name_if(Kind::Calls),
    }
}

/// `errand.stats_info()`.
#[pg_extern(sql = false)]
fn stats_info() -> TableIterator<
    'static,
    (name!(entries, i32), name!(max_entries, i32), name!(replaced, i64), name!(uncounted, i64)),
> {
    require_select("stats_info");
    let info = stats_memory::read(|table| (table.used(), table.replaced(), table.uncounted()));
    let (used, replaced, uncounted) = info.unwrap_or_default();
    TableIterator::once((used as i32, ENTRIES as i32, replaced as i64, uncounted as i64))
}

/// `errand.last_ended(text, boolean)`.
#[pg_extern(sql = false)]
fn last_ended(task_type: &str, failed: bool) -> SetOfIterator<'static, i64> {
    SetOfIterator::new(view::last_ended(task_type, failed))
}

/// `errand.throughput(integer)`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn throughput(
    spans: i32,
) -> TableIterator<
    'static,
    (
        name!(task_type, String),
        name!(succeeded, i64),
        name!(failed, i64),
        name!(cancelled, i64),
        name!(seconds, f64),
    ),
> {
    let (now, spans) = (backend::now(), spans.max(0));
    let seconds = (i64::from(spans) * SLOT + now.rem_euclid(SLOT)) as f64 / 1e6;
    TableIterator::new(view::lately(now, spans as u32).into_iter().map(move |lately| {
        let [succeeded, failed, cancelled] = lately.ended.map(|number| number as i64);
        (lately.task_type, succeeded, failed, cancelled, seconds)
    }))
}

/// `queues.stats_reset(text)`.
#[pg_extern(sql = false)]
fn stats_reset(task_type: Option<&str>) {
    let (database, now) = (backend::database().to_u32(), backend::now());
    if stats_memory::change(|table| table.reset(database, task_type, now)).is_none() {
        return;
    }
    let of = task_type.map_or_else(String::new, |task_type| format!(" of task type {task_type:?}"));
    log::event(
        log::LogLevel::Info,
        format!("statistics{of} reset by role {:?}", backend::current_user_name()),
    );
}

/// Raises an error unless the role may read a view, and says why it is empty if the library is not preloaded.
fn require_select(view: &str) {
    shown::require_select(&[view], "the statistics");
    if stats_memory::table().is_none() {
        pgrx::notice!("there are no statistics, since pg_errand is not in shared_preload_libraries");
    }
}
