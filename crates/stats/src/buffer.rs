//! What a worker has done and the entries do not count yet. Many workers that count the same tasks one by one would spend
//! most of the time on getting the counters from each other's caches.

use crate::entry::{Status, TaskCount};
use crate::table::{Handle, Table};
use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// The number of events that a worker collects.
const EVENTS: usize = 64;
/// Stands for a time that was not measured.
const NONE: i64 = -1;

/// Something that is counted.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Event {
    Task(TaskCount),
    /// An invocation of a handler, its duration in microseconds, and whether it raised an error.
    Invocation {
        took: i64,
        has_failed: bool,
    },
}

impl Event {
    fn count<const N: usize>(self, table: &Table<N>, handle: Handle, at: i64) {
        match (table.get(handle), self) {
            (None, _) => table.note_uncounted(),
            (Some(entry), Event::Task(count)) => entry.count_task(&count, at),
            (Some(entry), Event::Invocation { took, has_failed }) => {
                entry.count_invocation(took, has_failed, at);
            }
        }
    }
}

/// An event in shared memory.
struct Place {
    handle: AtomicU64,
    at: AtomicI64,
    task_id: AtomicI64,
    /// For an invocation, none.
    waiting: AtomicI64,
    running: AtomicI64,
    bits: AtomicU64,
}

// The parts of `Place::bits`.
const INVOCATION: u64 = 1;
const HAS_FAILED: u64 = 1 << 1;
const REPEATED: u64 = 1 << 2;
const HAD_SUCCEEDED: u64 = 1 << 3;
/// One more than the status, in two bits; 0 if the task has not ended.
const ENDED: u32 = 4;
const ERRORS: u32 = 16;
const ATTEMPTS: u32 = 32;

impl Place {
    /// False if the event has a number that does not fit.
    fn write(&self, handle: Handle, event: Event, at: i64) -> bool {
        let (task_id, waiting, running, bits) = match event {
            Event::Invocation { took, has_failed } => {
                (0, NONE, took, INVOCATION | if has_failed { HAS_FAILED } else { 0 })
            }
            Event::Task(count) => {
                let (Ok(errors), Ok(attempts), 0) =
                    (u8::try_from(count.errors), u16::try_from(count.attempts), count.others)
                else {
                    return false;
                };
                let flag = |is_set: bool, bit: u64| if is_set { bit } else { 0 };
                let bits = flag(count.is_repeated, REPEATED)
                    | flag(count.had_succeeded, HAD_SUCCEEDED)
                    | count.ended.map_or(0, |status| status as u64 + 1) << ENDED
                    | u64::from(errors) << ERRORS
                    | u64::from(attempts) << ATTEMPTS;
                let time = |time: Option<i64>| time.map_or(NONE, |time| time.max(0));
                (count.task_id, time(count.waiting), time(count.running), bits)
            }
        };
        self.handle.store(handle.to_bits(), Relaxed);
        self.at.store(at, Relaxed);
        self.task_id.store(task_id, Relaxed);
        self.waiting.store(waiting, Relaxed);
        self.running.store(running, Relaxed);
        self.bits.store(bits, Relaxed);
        true
    }

    fn read(&self) -> (Handle, Event, i64) {
        let bits = self.bits.load(Relaxed);
        let time = |time: &AtomicI64| Some(time.load(Relaxed)).filter(|time| *time != NONE);
        let running = time(&self.running);
        let event = if bits & INVOCATION != 0 {
            Event::Invocation { took: running.unwrap_or_default(), has_failed: bits & HAS_FAILED != 0 }
        } else {
            let ended = ((bits >> ENDED) & 3) as usize;
            Event::Task(TaskCount {
                task_id: self.task_id.load(Relaxed),
                attempts: i32::from((bits >> ATTEMPTS) as u16),
                errors: i32::from((bits >> ERRORS) as u8),
                is_repeated: bits & REPEATED != 0,
                ended: ended.checked_sub(1).and_then(|status| Status::ALL.get(status).copied()),
                had_succeeded: bits & HAD_SUCCEEDED != 0,
                others: 0,
                waiting: time(&self.waiting),
                running,
            })
        };
        (Handle::from_bits(self.handle.load(Relaxed)), event, self.at.load(Relaxed))
    }
}

/// The events of one worker, which alone adds to them. All bits may be 0: then it is empty.
pub struct Buffer {
    places: [Place; EVENTS],
    /// The number of events that were added.
    added: AtomicU64,
    /// The number of events that were counted. It is changed by the process that has set `is_counting`.
    counted: AtomicU64,
    is_counting: AtomicBool,
}

impl Buffer {
    /// Adds an event. It neither allocates nor fails.
    pub fn add<const N: usize>(&self, table: &Table<N>, handle: Handle, event: Event, at: i64) {
        let added = self.added.load(Relaxed);
        if added - self.counted.load(Acquire) >= EVENTS as u64 {
            // A reader that is just counting is done soon.
            while !self.count(table) {
                std::hint::spin_loop();
            }
        }
        if self.places[added as usize % EVENTS].write(handle, event, at) {
            self.added.store(added + 1, Release);
        } else {
            event.count(table, handle, at);
        }
    }

    /// Counts the events; false if another process does.
    pub fn count<const N: usize>(&self, table: &Table<N>) -> bool {
        let (counted, added) = (self.counted.load(Relaxed), self.added.load(Relaxed));
        if counted == added {
            return true;
        }
        if self.is_counting.swap(true, Acquire) {
            return false;
        }
        for number in self.counted.load(Relaxed)..self.added.load(Acquire) {
            let (handle, event, at) = self.places[number as usize % EVENTS].read();
            event.count(table, handle, at);
            self.counted.store(number + 1, Release);
        }
        self.is_counting.store(false, Release);
        true
    }
}

/// Counts an event that no buffer collects.
pub fn count(table: &Table, handle: Handle, event: Event, at: i64) {
    event.count(table, handle, at);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;
    use crate::snapshot::{Counter, Time};

    fn buffer() -> Buffer {
        Buffer {
            places: [const {
                Place {
                    handle: AtomicU64::new(0),
                    at: AtomicI64::new(0),
                    task_id: AtomicI64::new(0),
                    waiting: AtomicI64::new(0),
                    running: AtomicI64::new(0),
                    bits: AtomicU64::new(0),
                }
            }; EVENTS],
            added: AtomicU64::new(0),
            counted: AtomicU64::new(0),
            is_counting: AtomicBool::new(false),
        }
    }

    #[test]
    fn events_are_read_as_they_were_written() {
        let buffer = buffer();
        let table = Table::<4>::empty();
        let handle = table.find_or_add(&Key::of_tasks(1, "t"), 1).unwrap();
        let task = TaskCount { task_id: i64::MAX, attempts: 65_535, errors: 255, ..TaskCount::default() };
        let mut events = vec![
            Event::Invocation { took: 0, has_failed: false },
            Event::Invocation { took: i64::MAX, has_failed: true },
            Event::Task(TaskCount::default()),
            Event::Task(TaskCount { is_repeated: true, waiting: Some(0), ..task }),
            Event::Task(TaskCount { had_succeeded: true, running: Some(7), ..task }),
        ];
        events.extend(Status::ALL.map(|status| Event::Task(TaskCount { ended: Some(status), ..task })));
        for event in events {
            assert!(buffer.places[3].write(handle, event, 55));
            assert_eq!(buffer.places[3].read(), (handle, event, 55));
        }
        for large in [TaskCount { attempts: 65_536, ..task }, TaskCount { errors: 256, ..task }] {
            assert!(!buffer.places[3].write(handle, Event::Task(large), 55));
        }
    }

    #[test]
    fn each_event_is_counted_once_whoever_counts() {
        let (buffer, table) = (buffer(), Table::<4>::empty());
        let handle = table.find_or_add(&Key::of_tasks(1, "t"), 1).unwrap();
        let done = AtomicBool::new(false);
        let event = |task_id| {
            let ended = Some(Status::Succeeded);
            let others = u32::from(task_id % 1000 == 0);
            Event::Task(TaskCount {
                task_id,
                attempts: 1,
                ended,
                others,
                running: Some(9),
                ..TaskCount::default()
            })
        };
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    while !done.load(Relaxed) {
                        buffer.count(&table);
                    }
                });
            }
            (1..=100_000).for_each(|task_id| buffer.add(&table, handle, event(task_id), task_id));
            done.store(true, Relaxed);
        });
        while !buffer.count(&table) {}
        let entry = table.get(handle).unwrap();
        let counts = entry.counts();
        assert_eq!((counts.count(Counter::Attempts), counts.count(Counter::Succeeded)), (100_000, 100_100));
        assert_eq!((counts.time(Time::Running).count(), counts.time(Time::Running).sum), (100_000, 900_000));
    }
}
