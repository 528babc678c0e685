//! An entry of the table: what was counted for one key.

use crate::key::{Key, Kind, Role};
use crate::label::Label;
use crate::rates::Rates;
use crate::recent::Recent;
use crate::snapshot::{COUNTERS, Counter, Snapshot, TIMES, Time};
use crate::timing::Timing;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, Ordering::Relaxed};

/// How a task ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    Succeeded = 0,
    Failed = 1,
    Cancelled = 2,
}

impl Status {
    pub const ALL: [Status; 3] = [Status::Succeeded, Status::Failed, Status::Cancelled];

    const fn counter(self) -> Counter {
        match self {
            Status::Succeeded => Counter::Succeeded,
            Status::Failed => Counter::Failed,
            Status::Cancelled => Counter::Cancelled,
        }
    }
}

/// What a transaction has done with a task. Times are in microseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct TaskCount {
    pub task_id: i64,
    pub attempts: i32,
    pub errors: i32,
    pub is_repeated: bool,
    pub ended: Option<Status>,
    /// The task had been counted as succeeded.
    pub had_succeeded: bool,
    /// The number of tasks that ended like this one, beside it.
    pub others: u32,
    pub waiting: Option<i64>,
    pub running: Option<i64>,
}

/// Longer times count as this one, in microseconds.
const LONGEST: i64 = (1 << 42) - 1;

/// What is known of a call that has ended.
#[derive(Clone, Copy, Debug)]
pub struct CallCount {
    /// The status of the response, if there is one.
    pub status: Option<u16>,
    pub took: u64,
}

/// The counters and histograms of an entry.
struct Counts {
    counts: [AtomicI64; COUNTERS],
    times: [Timing; TIMES],
}

impl Counts {
    fn add(&self, counter: Counter, number: i64) {
        if number != 0 {
            self.counts[counter as usize].fetch_add(number, Relaxed);
        }
    }

    fn time(&self, time: Time, micros: i64) {
        self.times[time.place()].count(micros.clamp(0, LONGEST) as u64);
    }

    fn read(&self) -> Snapshot {
        Snapshot {
            counts: std::array::from_fn(|n| self.counts[n].load(Relaxed)),
            times: std::array::from_fn(|n| self.times[n].read()),
        }
    }

    fn write(&self, snapshot: &Snapshot) {
        self.counts.iter().zip(snapshot.counts).for_each(|(place, count)| place.store(count, Relaxed));
        self.times.iter().zip(&snapshot.times).for_each(|(place, times)| place.write(times));
    }
}

/// What was counted for one key. All bits may be 0: then the entry is free.
pub struct Entry {
    /// How often the entry was given to another key.
    generation: AtomicU32,
    database: AtomicU32,
    kind: AtomicU8,
    role: AtomicU8,
    task_type: Label,
    name: Label,
    /// Since when the entry counts, in microseconds since 2000-01-01 like all times of day.
    since: AtomicI64,
    used_at: AtomicI64,
    /// In an entry of a database, the minute up to which the history is written.
    written: AtomicI64,
    counts: Counts,
    /// The part of `counts` that the history has.
    noted: Counts,
    rates: [Rates; Status::ALL.len()],
    ended: Recent,
    failed: Recent,
}

#[cfg(test)]
impl Counts {
    const fn empty() -> Counts {
        Counts { counts: [const { AtomicI64::new(0) }; COUNTERS], times: [const { Timing::empty() }; TIMES] }
    }
}

impl Entry {
    #[cfg(test)]
    pub(crate) const fn free() -> Entry {
        Entry {
            generation: AtomicU32::new(0),
            database: AtomicU32::new(0),
            kind: AtomicU8::new(0),
            role: AtomicU8::new(0),
            task_type: Label::empty(),
            name: Label::empty(),
            since: AtomicI64::new(0),
            used_at: AtomicI64::new(0),
            written: AtomicI64::new(0),
            counts: Counts::empty(),
            noted: Counts::empty(),
            rates: [const { Rates::empty() }; Status::ALL.len()],
            ended: Recent::empty(),
            failed: Recent::empty(),
        }
    }

    /// Gives the entry to a key. The caller holds the lock of the table.
    pub(crate) fn give_to(&self, key: &Key, now: i64) {
        self.generation.fetch_add(1, Relaxed);
        self.database.store(key.database, Relaxed);
        self.kind.store(key.kind as u8, Relaxed);
        self.role.store(key.role as u8, Relaxed);
        self.task_type.set(key.task_type);
        self.name.set(key.name);
        self.written.store(0, Relaxed);
        self.rates.iter().for_each(Rates::clear);
        self.ended.clear();
        self.failed.clear();
        self.reset(now);
    }

    /// Begins to count again. The caller holds the lock of the table.
    pub(crate) fn reset(&self, now: i64) {
        self.counts.write(&Snapshot::EMPTY);
        self.noted.write(&Snapshot::EMPTY);
        self.since.store(now, Relaxed);
        self.used_at.store(now, Relaxed);
    }

    pub(crate) fn restore(
        &self,
        since: i64,
        used_at: i64,
        counts: &Snapshot,
        noted: &Snapshot,
        tasks: [&[i64]; 2],
    ) {
        self.counts.write(counts);
        self.noted.write(noted);
        self.since.store(since, Relaxed);
        self.used_at.store(used_at, Relaxed);
        let last_first =
            |recent: &Recent, tasks: &[i64]| tasks.iter().rev().for_each(|task| recent.add(*task));
        last_first(&self.ended, tasks[0]);
        last_first(&self.failed, tasks[1]);
    }

    pub fn generation(&self) -> u32 {
        self.generation.load(Relaxed)
    }

    pub fn database(&self) -> u32 {
        self.database.load(Relaxed)
    }

    pub fn kind(&self) -> Kind {
        Kind::ALL[usize::from(self.kind.load(Relaxed)) % Kind::ALL.len()]
    }

    pub fn role(&self) -> Role {
        Role::ALL[usize::from(self.role.load(Relaxed)) % Role::ALL.len()]
    }

    pub fn task_type(&self) -> String {
        self.task_type.text()
    }

    /// True for an entry of this type.
    pub fn is_of_type(&self, task_type: &str) -> bool {
        self.task_type.is_of(task_type)
    }

    /// The name of the handler or of the provider.
    pub fn name(&self) -> String {
        self.name.text()
    }

    pub fn since(&self) -> i64 {
        self.since.load(Relaxed)
    }

    pub fn used_at(&self) -> i64 {
        self.used_at.load(Relaxed)
    }

    pub fn counts(&self) -> Snapshot {
        self.counts.read()
    }

    /// The part of the counts that the history has.
    pub fn noted(&self) -> Snapshot {
        self.noted.read()
    }

    /// Notes that the history has these counts.
    pub fn note(&self, counts: &Snapshot) {
        self.noted.write(counts);
    }

    /// The last tasks that ended, or that failed; the last one first.
    pub fn last_ended(&self, only_failed: bool) -> Vec<i64> {
        if only_failed { self.failed.list() } else { self.ended.list() }
    }

    /// The number of tasks that ended with this status in the current span of time and in `spans` ones before it.
    pub fn lately(&self, status: Status, now: i64, spans: u32) -> u64 {
        self.rates[status as usize].lately(now, spans)
    }

    /// True for one caller, if the history of the database was not written up to this minute.
    pub fn begin_minute(&self, minute: i64) -> bool {
        self.written.fetch_update(Relaxed, Relaxed, |written| (written != minute).then_some(minute)).is_ok()
    }

    pub fn count_task(&self, count: &TaskCount, now: i64) {
        let counts = &self.counts;
        counts.add(Counter::Attempts, count.attempts.into());
        counts.add(Counter::Errors, count.errors.into());
        counts.add(Counter::Repeated, count.is_repeated.into());
        if count.had_succeeded {
            counts.add(Counter::Succeeded, -1);
        }
        if let Some(status) = count.ended {
            let number = count.others.saturating_add(1);
            counts.add(status.counter(), number.into());
            self.rates[status as usize].count(now, number);
            self.ended.add(count.task_id);
            if status == Status::Failed {
                self.failed.add(count.task_id);
            }
        }
        count.waiting.into_iter().for_each(|waiting| counts.time(Time::Waiting, waiting));
        count.running.into_iter().for_each(|running| counts.time(Time::Running, running));
        self.used_at.store(now, Relaxed);
    }

    pub fn count_invocation(&self, took: i64, has_failed: bool, now: i64) {
        self.counts.add(Counter::Invocations, 1);
        self.counts.add(Counter::Errors, has_failed.into());
        self.counts.time(Time::Running, took);
        self.used_at.store(now, Relaxed);
    }

    pub fn count_call(&self, call: CallCount, now: i64) {
        self.counts.add(Counter::Calls, 1);
        let answer = match call.status {
            None => Counter::NoResponse,
            Some(..300) => Counter::Status2xx,
            Some(300..400) => Counter::Status3xx,
            Some(400..500) => Counter::Status4xx,
            Some(500..) => Counter::Status5xx,
        };
        self.counts.add(answer, 1);
        self.counts.time(Time::Provider, call.took as i64);
        self.used_at.store(now, Relaxed);
    }

    /// Counts that a call has failed, or waits because its provider has asked for it.
    pub fn count_call_as(&self, counter: Counter) {
        self.counts.add(counter, 1);
    }
}
