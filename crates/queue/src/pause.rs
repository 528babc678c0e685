//! Pauses: a database, a task type or a provider starts nothing new.
//!
//! The rows of `queues.paused` decide. Here is what workers have read of them, and which sessions drain a database before
//! their row is committed.

use crate::announcement::Announcement;
use crate::database::Database;
use crate::ids::DatabaseId;
use crate::latch::Latch;
use crate::shared::Shared;

/// When another worker ends a pause that is over if the first one has not, in microseconds.
const RETRY: i64 = 1_000_000;

impl Database {
    /// True while no task of the database may start.
    pub fn starts_nothing(&self) -> bool {
        self.paused || self.drained_by().is_some()
    }

    /// The process ID of a session that drains the database.
    pub fn drained_by(&self) -> Option<i32> {
        self.drained_by.into_iter().find(|pid| *pid != 0)
    }

    /// True if the calling worker has to end the pauses that are over. Others do not.
    pub fn take_pause_end(&mut self, now: i64) -> bool {
        let is_over = self.pause_over || self.pause_ends_at <= now;
        if is_over {
            self.pause_over = false;
            self.pause_ends_at = now + RETRY;
        }
        is_over
    }
}

impl<L: Latch, const S: usize, const D: usize, const W: usize, const C: usize, const A: usize>
    Shared<L, S, D, W, C, A>
{
    pub(super) fn starts_nothing(&self, id: DatabaseId) -> bool {
        self.databases.iter().any(|database| database.id == id && database.starts_nothing())
    }

    /// Notes what a worker has read of the pauses of its database: whether the database is paused, and when the next pause
    /// ends. It has no effect if they have changed since the worker read them, as of `definition_changes`.
    pub fn set_pauses(
        &mut self,
        id: DatabaseId,
        definition_changes: u64,
        paused: bool,
        ends_at: i64,
        now: i64,
    ) {
        let current = |database: &&mut Database| database.definition_changes == definition_changes;
        if let Some(database) = self.database(id).filter(current)
            && (database.paused, database.pause_ends_at) != (paused, ends_at)
        {
            // Other workers have read a pause that is over, and this one has not.
            database.pause_over |= database.pause_ends_at <= now;
            (database.paused, database.pause_ends_at) = (paused, ends_at);
            self.launcher.set();
        }
    }

    /// Lets a database start nothing while process `by` drains it; false if too many sessions do so already.
    pub fn begin_drain(&mut self, id: DatabaseId, by: i32) -> bool {
        let Some(database) = self.database_or_new(id) else { return false };
        if database.drained_by.contains(&by) {
            return true;
        }
        let free = database.drained_by.iter_mut().find(|pid| **pid == 0);
        free.map(|free| *free = by).is_some()
    }

    /// Ends what process `by` began with [`Shared::begin_drain`]. Workers read the rows before they take another task, so
    /// they see the pause if it was committed.
    pub fn end_drain(&mut self, by: i32, now: i64) {
        for place in 0..self.databases.len() {
            let Database { id, drained_by, .. } = &mut self.databases[place];
            let (id, drains) = (*id, drained_by.contains(&by));
            drained_by.iter_mut().filter(|pid| **pid == by).for_each(|pid| *pid = 0);
            if drains {
                self.change_pauses(id, now);
                self.launcher.set();
            }
        }
    }

    /// Processes the commit of tasks that were left out because a pause kept them from starting, according to the pauses
    /// as of `definition_changes`. Returns false if these have changed since. Then such tasks are looked for.
    pub fn announce_paused(&mut self, id: DatabaseId, definition_changes: u64, now: i64) -> bool {
        let is_current =
            self.database(id).is_some_and(|database| database.definition_changes == definition_changes);
        if !is_current {
            self.database(id).into_iter().for_each(|database| database.due_unknown = true);
            // A sweep looks at some of the keys only.
            self.read_all_keys(id);
            let mut unknown = Announcement::<0>::NOTHING;
            unknown.due(now);
            self.announce(id, &unknown, now);
        }
        is_current
    }

    /// The number of tasks of a database that its workers run, or have between the steps of their calls, and those that
    /// a worker has taken and not begun.
    pub fn busy(&self, id: DatabaseId) -> u32 {
        let live = self.slots_of(id).filter(|slot| slot.is_live());
        live.map(|slot| u32::from(slot.task_id != 0 || slot.lane().is_some()) + slot.in_flight).sum()
    }
}

#[cfg(test)]
mod tests;
