//! Sweeps: when the table is read from its start, to find tasks that were not announced.

use super::Queue;
use crate::numbers::NEVER;

/// How long a requested sweep waits while tasks are known, in microseconds.
const SWEEP_PATIENCE: i64 = 10_000;

/// Which tasks a sweep looks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sweep {
    /// Deferred tasks, and prioritized ones, whose time has come.
    Due,
    /// All ready tasks, from the start of the table.
    All,
}

impl<const WINDOW: usize, const CALL_WINDOW: usize> Queue<WINDOW, CALL_WINDOW> {
    /// The sweep that the caller has to do at `now`. `interval` is the time between periodic sweeps, in microseconds.
    pub fn begin_sweep(&mut self, now: i64, interval: i64) -> Option<Sweep> {
        if !self.wants_sweep(now, interval) {
            return None;
        }
        self.deferred_due = false;
        if self.sweep_by == NEVER && !self.is_swept_late(now, interval) {
            return Some(Sweep::Due);
        }
        self.sweep_by = NEVER;
        self.swept_at = now;
        self.note_prioritized();
        Some(Sweep::All)
    }

    pub fn wants_sweep(&self, now: i64, interval: i64) -> bool {
        self.deferred_due || self.requested_sweep_at() <= now || self.is_swept_late(now, interval)
    }

    /// When a requested sweep has to begin; `NEVER` if none is requested.
    pub fn requested_sweep_at(&self) -> i64 {
        if self.sweep_by != NEVER && self.is_empty() { i64::MIN } else { self.sweep_by }
    }

    /// Requests a sweep. Known tasks are handed out first, for `SWEEP_PATIENCE` at most.
    pub fn ask_for_sweep(&mut self, now: i64) {
        self.sweep_by = self.sweep_by.min(now + SWEEP_PATIENCE);
    }

    fn is_swept_late(&self, now: i64, interval: i64) -> bool {
        self.swept_at.saturating_add(interval) <= now && self.no_sweep_before <= now
    }

    /// The time since which prioritized tasks may have fallen due that precede the cursor, or tasks with keys; `None` if
    /// there are neither.
    pub fn due_since(&self) -> Option<i64> {
        (!self.unused || !self.keys_unused).then_some(self.looked_for)
    }

    /// Notes that a sweep has added the prioritized tasks of all lanes that were due at `time`, and were not due at
    /// `since`. This has no effect if the clock was set back, or another sweep has ended, since the sweep began.
    pub fn note_looked_for(&mut self, since: i64, time: i64) {
        if self.looked_for == since {
            self.looked_for = since.max(time);
        }
    }

    /// Notes that the clock was set back to `now`.
    pub(crate) fn set_clock_back(&mut self, now: i64) {
        self.looked_for = now.min(self.looked_for).saturating_sub(1);
        self.no_sweep_before = now.min(self.no_sweep_before);
        self.ask_for_sweep(now);
        self.key_lines.iter_mut().for_each(|line| line.round_at = now.min(line.round_at));
        // Tasks that fall due before the clock reaches its former time are before the cursor.
        self.rewind_all();
    }
}
