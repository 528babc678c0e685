//! The journal: which worker runs which task, and how earlier runs ended. It survives crash restarts, which reset
//! shared memory, and therefore identifies the task that has crashed the server.
//!
//! It is plain data like [`super::Shared`], and is changed under the same lock.

use crate::ids::DatabaseId;
use crate::sizes::MAX_SLOTS;
use serde::{Deserialize, Serialize};

/// The number of interrupted tasks that are remembered at once.
pub const MAX_REMEMBERED: usize = 256;

/// The runs of a task that ended with their worker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Interrupted {
    /// The task, or 0 if the entry is free.
    pub task_id: i64,
    /// The number of runs that are not counted in the task's row yet.
    pub runs: u32,
    /// The number of earlier runs whose worker ended without a request to end.
    pub deaths: u32,
    /// The worker of the last run ended without a request to end. A shutdown of the server clears this.
    pub died: bool,
    /// The task was cancelled.
    pub cancelled: bool,
    /// The number of runs that were ended by a command that quiesced the database, if no other task had started later.
    #[serde(default)]
    pub evictions: u32,
    /// The number of evictions that came soon after the start of the run.
    #[serde(default)]
    pub early_evictions: u32,
    /// The earliest time of the next run.
    #[serde(default)]
    pub not_before: i64,
}

/// How the worker of a task has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunEnd {
    /// The worker was requested to end.
    Left,
    /// The worker ended without a request to end.
    Died,
    /// A command quiesced the database, and this task had started last. `early` is true if that was just before the
    /// command.
    Evicted { early: bool, now: i64 },
}

/// The longest pause after evictions, in microseconds.
const LONGEST_PAUSE: i64 = 60_000_000;

impl Interrupted {
    pub const NONE: Interrupted = Interrupted {
        task_id: 0,
        runs: 0,
        deaths: 0,
        died: false,
        cancelled: false,
        evictions: 0,
        early_evictions: 0,
        not_before: 0,
    };

    /// The entry after another run has ended.
    fn ended(self, how: RunEnd) -> Interrupted {
        let ended = Interrupted { runs: self.runs + 1, died: how == RunEnd::Died, ..self };
        let RunEnd::Evicted { early, now } = how else { return ended };
        let pause = match self.evictions {
            0 => 0,
            n => (1_000_000 << (n - 1).min(6)).min(LONGEST_PAUSE),
        };
        Interrupted {
            evictions: self.evictions + 1,
            early_evictions: self.early_evictions + u32::from(early),
            not_before: now + pause,
            ..ended
        }
    }

    /// True if the task has to wait at `now`. It need not if the clock was set back since.
    fn is_paused(&self, now: i64) -> bool {
        (now + 1..=now + LONGEST_PAUSE).contains(&self.not_before)
    }

    /// The entry with the last run counted as a death if its worker died.
    fn counted(self) -> Interrupted {
        Interrupted { deaths: self.deaths + u32::from(self.died), died: false, ..self }
    }
}

/// A task and the database that it is in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    database: u32,
    runs: Interrupted,
}

impl Entry {
    const FREE: Entry = Entry { database: 0, runs: Interrupted::NONE };
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Journal<const SLOTS: usize = MAX_SLOTS, const REMEMBERED: usize = MAX_REMEMBERED> {
    /// The task that the worker of each slot runs.
    running: [Entry; SLOTS],
    /// Interrupted tasks that do not run now.
    remembered: [Entry; REMEMBERED],
    /// The number of used entries of `remembered`.
    count: usize,
}

impl<const SLOTS: usize, const REMEMBERED: usize> Journal<SLOTS, REMEMBERED> {
    pub const EMPTY: Self =
        Journal { running: [Entry::FREE; SLOTS], remembered: [Entry::FREE; REMEMBERED], count: 0 };

    /// The time until which a task must not run, if it has to wait at `now`.
    pub fn paused_until(&self, database: DatabaseId, task_id: i64, now: i64) -> Option<i64> {
        if self.count == 0 {
            return None;
        }
        let is_it = |e: &&Entry| e.runs.task_id == task_id && e.database == database.get();
        let entry = self.remembered.iter().find(is_it)?;
        Self::has_to_wait(&entry.runs, now).then_some(entry.runs.not_before)
    }

    /// The tasks that have to wait at `now`.
    pub fn paused(&self, database: DatabaseId, now: i64) -> impl Iterator<Item = i64> {
        let of_database = self.remembered.iter().filter(move |entry| entry.database == database.get());
        of_database
            .map(|entry| entry.runs)
            .filter(move |runs| Self::has_to_wait(runs, now))
            .map(|runs| runs.task_id)
    }

    fn has_to_wait(runs: &Interrupted, now: i64) -> bool {
        runs.task_id != 0 && runs.is_paused(now) && !runs.cancelled
    }

    /// Notes that the worker of `slot` runs a task, and returns what is known of its earlier runs.
    pub fn begin(&mut self, slot: usize, database: DatabaseId, task_id: i64) -> Interrupted {
        let known = self.forget(database, task_id).unwrap_or(Interrupted { task_id, ..Interrupted::NONE });
        let runs = known.counted();
        self.running[slot] = Entry { database: database.get(), runs };
        runs
    }

    /// Notes that the run of the task of `slot` has ended.
    pub fn end(&mut self, slot: usize) {
        self.running[slot].runs.task_id = 0;
    }

    /// Notes that the task of `slot` was cancelled.
    pub fn cancel(&mut self, slot: usize) {
        self.running[slot].runs.cancelled = true;
    }

    /// Notes that the process of `slot` has ended. `cancelled` is true if its task was cancelled.
    pub fn interrupt(&mut self, slot: usize, how: RunEnd, cancelled: bool) {
        let Entry { database, runs } = self.running[slot];
        self.running[slot] = Entry::FREE;
        if runs.task_id != 0 {
            self.add(database, Interrupted { cancelled, ..runs.ended(how) });
        }
    }

    /// Notes that a task was cancelled, which its row does not show yet.
    pub fn remember_cancelled(&mut self, database: DatabaseId, task_id: i64) {
        let known = self.forget(database, task_id).unwrap_or(Interrupted { task_id, ..Interrupted::NONE });
        self.add(database.get(), Interrupted { cancelled: true, ..known });
    }

    /// Removes the entry of a task that has ended, and returns it.
    pub fn forget(&mut self, database: DatabaseId, task_id: i64) -> Option<Interrupted> {
        if self.count == 0 {
            return None;
        }
        let is_it = |e: &&mut Entry| e.runs.task_id == task_id && e.database == database.get();
        let entry = self.remembered.iter_mut().find(is_it)?;
        self.count -= 1;
        Some(std::mem::replace(entry, Entry::FREE).runs)
    }

    /// Removes all entries of a database whose extension was dropped, since new tasks may have the same numbers.
    pub fn forget_all(&mut self, database: DatabaseId) {
        for entry in &mut self.remembered {
            if entry.runs.task_id != 0 && entry.database == database.get() {
                *entry = Entry::FREE;
                self.count -= 1;
            }
        }
    }

    /// Adds an entry, in place of the least important one if there is no room.
    fn add(&mut self, database: u32, runs: Interrupted) {
        let importance = |entry: &&mut Entry| {
            let runs = &entry.runs;
            let ends = runs.deaths + u32::from(runs.died) + runs.early_evictions;
            (runs.task_id != 0, runs.cancelled, ends)
        };
        if let Some(place) = self.remembered.iter_mut().min_by_key(importance) {
            self.count += usize::from(place.runs.task_id == 0);
            *place = Entry { database, runs };
        }
    }

    /// Notes that all processes have ended. `spared` is true for slots whose process the postmaster ended.
    pub fn recover(&mut self, spared: impl Fn(usize) -> bool) {
        for slot in 0..SLOTS {
            let cancelled = self.running[slot].runs.cancelled;
            let how = if spared(slot) { RunEnd::Left } else { RunEnd::Died };
            self.interrupt(slot, how, cancelled);
        }
    }

    /// The entries that survive the shutdown of the server. The shutdown does not count as a death of the tasks that
    /// ran, but a crash that caused it does.
    pub fn at_end(&mut self, spared: impl Fn(usize) -> bool) -> Vec<(u32, Interrupted)> {
        for entry in &mut self.remembered {
            entry.runs.died = false;
        }
        self.recover(spared);
        let taken = self.remembered.iter().filter(|entry| entry.runs.task_id != 0);
        taken.map(|entry| (entry.database, entry.runs)).collect()
    }

    /// Restores the entries that [`Journal::at_end`] returned.
    pub fn restore(&mut self, kept: &[(u32, Interrupted)]) {
        kept.iter()
            .filter(|(_, runs)| runs.task_id != 0)
            .for_each(|(database, runs)| self.add(*database, *runs));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATABASE: DatabaseId = DatabaseId::new(5);

    fn empty() -> Box<Journal> {
        Box::new(Journal::EMPTY)
    }

    fn begin(journal: &mut Journal, slot: usize) -> (u32, u32) {
        let earlier = journal.begin(slot, DATABASE, 7);
        (earlier.runs, earlier.deaths)
    }

    #[test]
    fn runs_that_ended_with_their_worker_are_counted_until_the_task_is_over() {
        let mut journal = empty();
        assert_eq!(begin(&mut journal, 0), (0, 0));
        journal.interrupt(0, RunEnd::Died, false);
        assert_eq!(begin(&mut journal, 1), (1, 1));
        journal.interrupt(1, RunEnd::Left, false);
        assert_eq!(begin(&mut journal, 2), (2, 1));
        journal.end(2);
        assert_eq!(begin(&mut journal, 2), (0, 0));
    }

    #[test]
    fn after_a_crash_only_the_process_that_was_not_told_to_end_is_to_blame() {
        let mut journal = empty();
        journal.begin(0, DATABASE, 7);
        journal.begin(1, DATABASE, 8);
        journal.recover(|slot| slot == 1);
        assert_eq!(begin(&mut journal, 0), (1, 1));
        let innocent = journal.begin(1, DATABASE, 8);
        assert_eq!((innocent.runs, innocent.deaths), (1, 0));
    }

    #[test]
    fn a_stop_of_the_server_is_no_death_but_what_made_it_stop_is() {
        let mut journal = empty();
        for (slot, task_id) in [(0, 7), (1, 8)] {
            journal.begin(slot, DATABASE, task_id);
        }
        journal.interrupt(1, RunEnd::Died, false);
        let kept = journal.at_end(|_| false);
        let mut next = empty();
        next.restore(&kept);
        assert_eq!(begin(&mut next, 0), (1, 1));
        assert_eq!(next.begin(1, DATABASE, 8).deaths, 0);
    }

    #[test]
    fn a_task_that_commands_interrupt_again_and_again_waits_longer_and_longer() {
        const SECOND: i64 = 1_000_000;
        let mut journal = empty();
        let mut now = 10 * SECOND;
        let mut pauses = Vec::new();
        for n in 0..9 {
            assert_eq!(journal.begin(0, DATABASE, 7).evictions, n);
            journal.interrupt(0, RunEnd::Evicted { early: n < 3, now }, false);
            let until = journal.paused_until(DATABASE, 7, now).unwrap_or(now);
            pauses.push((until - now) / SECOND);
            now = until;
        }
        assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        // The clock was set back.
        assert_eq!(journal.paused_until(DATABASE, 7, now - 100 * SECOND), None);
        let runs = journal.begin(0, DATABASE, 7);
        assert_eq!((runs.early_evictions, runs.deaths, runs.runs), (3, 0, 9));
        journal.end(0);
        assert_eq!(journal.begin(0, DATABASE, 7).evictions, 0);
    }

    #[test]
    fn a_cancelled_task_stays_so_whatever_ends() {
        let mut journal = empty();
        journal.begin(0, DATABASE, 7);
        journal.cancel(0);
        journal.recover(|_| false);
        assert!(journal.begin(0, DATABASE, 7).cancelled);
        journal.end(0);
        journal.remember_cancelled(DATABASE, 7);
        let kept = journal.at_end(|_| false);
        assert_eq!(kept, [(5, Interrupted { task_id: 7, cancelled: true, ..Interrupted::NONE })]);
        assert!(journal.forget(DATABASE, 7).is_some() && journal.forget(DATABASE, 7).is_none());
    }

    #[test]
    fn tasks_of_other_databases_are_other_tasks() {
        let mut journal = empty();
        journal.begin(0, DATABASE, 7);
        journal.interrupt(0, RunEnd::Died, false);
        assert_eq!(journal.begin(0, DatabaseId::new(6), 7).runs, 0);
    }

    #[test]
    fn the_least_important_ones_are_forgotten_first() {
        let mut journal = empty();
        journal.remember_cancelled(DATABASE, 1);
        for task_id in 2..MAX_REMEMBERED as i64 + 10 {
            journal.begin(0, DATABASE, task_id);
            journal.interrupt(0, if task_id == 2 { RunEnd::Died } else { RunEnd::Left }, false);
        }
        assert!(journal.begin(0, DATABASE, 1).cancelled);
        assert_eq!(journal.begin(0, DATABASE, 2).deaths, 1);
    }
}
