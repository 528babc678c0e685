//! Limits how many tasks of a key run at a time: workers show in their slots the keys of the tasks that they run.
//!
//! A slot shows a key from the moment when its worker takes the key until the worker has ended the task, or has found that
//! no task of the key may run. An announcement of the key meanwhile marks the slot, and the worker hands the key out again.

use crate::database::Database;
use crate::ids::DatabaseId;
use crate::key_line::{Key, KeyEntry, KeyPlace, KeyWindow, ReadKeys, ShownKey};
use crate::lane::{Lane, LaneSet};
use crate::latch::Latch;
use crate::limiter::Admission;
use crate::line::NOBODY;
use crate::queue::Queue;
use crate::shared::Shared;
use crate::slot::{Over, Slot};

impl<const W: usize, const C: usize> Queue<W, C> {
    /// True if the database has tasks with keys, as far as is known.
    pub fn uses_keys(&self) -> bool {
        !self.keys_unused
    }

    pub(crate) fn keys_of(&mut self, lane: Lane) -> KeyWindow<'_> {
        let line = &mut self.key_lines[lane.index()];
        let entries = match lane.index() {
            0 => &mut self.local_keys[..],
            index => &mut self.lane_keys[index - 1][..],
        };
        KeyWindow { line, entries }
    }

    /// Notes that there may be tasks with keys, also such that are not due.
    pub fn note_keys(&mut self) {
        self.keys_unused = false;
        self.key_lines.iter_mut().for_each(|line| line.is_disturbed = line.reader != NOBODY);
    }

    /// Lets all keys of these lanes be read again.
    pub fn rewind_keys(&mut self, lanes: LaneSet) {
        lanes.iter().for_each(|lane| self.keys_of(lane).rewind());
    }

    /// The key after which the next sweep of a lane begins.
    pub fn keys_swept(&self, lane: Lane) -> Key {
        self.key_lines[lane.index()].swept
    }

    pub(crate) fn publish_keys(&mut self, lane: Lane, read: &ReadKeys) {
        let mut window = self.keys_of(lane);
        let is_unused = read.is_unused && !window.line.is_disturbed;
        window.publish(read);
        self.keys_unused |= is_unused;
    }
}

impl<L: Latch, const S: usize, const D: usize, const W: usize, const C: usize, const A: usize>
    Shared<L, S, D, W, C, A>
{
    /// The number of workers that show a key.
    pub fn shown(&self, database: DatabaseId, key: Key) -> u32 {
        self.slots_of(database).map(|slot| u32::from(slot.shows_key(key))).sum()
    }

    /// Shows a key in the slot of the worker that has taken it; false if as many others show it as may.
    pub(crate) fn show_key(&mut self, slot: usize, lane: Lane, entry: KeyEntry) -> bool {
        let database = self.slots[slot].database;
        if self.shown(database, entry.key) >= entry.max_running {
            self.want_key(database, &entry);
            return false;
        }
        self.slots[slot].key = Some(ShownKey::new(lane, entry));
        true
    }

    /// Marks the slots that show a key; false if none does.
    fn want_key(&mut self, database: DatabaseId, entry: &KeyEntry) -> bool {
        let mut any = false;
        let shows = |slot: &&mut Slot<L>| slot.database == database && slot.shows_key(entry.key);
        for shown in
            self.slots[..self.used_slots].iter_mut().filter(shows).filter_map(|slot| slot.key.as_mut())
        {
            shown.want(entry.priority);
            any = true;
        }
        any
    }

    fn all_shown(&mut self, database: DatabaseId) -> impl Iterator<Item = &mut ShownKey> {
        let slots = self.slots[..self.used_slots].iter_mut().filter(move |slot| slot.database == database);
        slots.filter_map(|slot| slot.key.as_mut())
    }

    /// Marks all slots of a database that show a key.
    pub(crate) fn want_all_keys(&mut self, database: DatabaseId) {
        self.all_shown(database).for_each(|shown| shown.want(i16::MAX));
    }

    /// Notes that the keys which workers of a database have taken may belong to other lanes.
    pub(crate) fn note_stale_keys(&mut self, database: DatabaseId) {
        self.all_shown(database).for_each(|shown| shown.is_stale = true);
    }

    /// Adds a key that may have a task to run. The slots that show it hand it out again.
    pub fn hand_over_key(&mut self, database: DatabaseId, lane: Lane, entry: KeyEntry) {
        let is_shown = self.want_key(database, &entry);
        let Some(queue) = self.queue(database) else { return };
        queue.note_keys();
        // With more than one at a time, another worker may take the next one.
        if !is_shown || entry.max_running > 1 {
            queue.keys_of(lane).hand_over(entry);
        }
    }

    /// Hands out the key that a worker has shown.
    fn pass(&mut self, database: DatabaseId, shown: &ShownKey, entry: KeyEntry) {
        if shown.is_stale {
            self.read_all_keys(database);
        } else {
            self.hand_over_key(database, shown.lane, entry);
        }
    }

    /// Stops showing the key of a worker that runs no task of it. The key is handed out again if somebody has noted
    /// meanwhile that it may have a task; true if so.
    pub(crate) fn leave_key(&mut self, slot: usize, now: i64) -> bool {
        self.give_back_key_start(slot);
        let Some(shown) = self.slots[slot].key.take().filter(|shown| shown.is_wanted) else { return false };
        self.pass(self.slots[slot].database, &shown, shown.next(None, now));
        true
    }

    /// Lets all keys of a database be read again, since it is unknown which of them may have a task to run.
    pub(crate) fn read_all_keys(&mut self, database: DatabaseId) {
        self.want_all_keys(database);
        if let Some(queue) = self.queue(database) {
            queue.note_keys();
            queue.rewind_keys(LaneSet::ALL);
        }
    }

    /// Lets another worker look for a key that the calling one cannot take, or is not about to.
    pub(crate) fn pass_on_key(&mut self, database: DatabaseId) {
        self.wake(database, 1);
        // A worker that is about to become idle looks again.
        if let Some(database) = self.database(database) {
            database.announced += 1;
        }
    }

    /// Hands out a key that the worker of `slot` has kept for a while.
    pub fn hand_back_key(&mut self, slot: usize, lane: Lane, entry: KeyEntry) {
        let Slot { database, full, .. } = self.slots[slot];
        // Tasks may have been announced meanwhile.
        self.hand_over_key(database, lane, KeyEntry { after: None, ..entry });
        if full {
            self.pass_on_key(database);
        }
    }

    /// Puts back the key that a worker has taken, at its place.
    pub(crate) fn put_back_key(&mut self, slot: usize) {
        let Slot { database, task_id, .. } = self.slots[slot];
        if task_id == 0 {
            self.give_back_key_start(slot);
        }
        let Some(shown) = self.slots[slot].key.take() else { return };
        let after = shown.entry.after.filter(|_| !shown.is_wanted);
        let entry = KeyEntry { after, ..shown.entry };
        if shown.is_stale || self.shown(database, entry.key) > 0 {
            self.pass(database, &shown, entry);
        } else if let Some(queue) = self.queue(database) {
            queue.note_keys();
            queue.keys_of(shown.lane).insert(entry);
        }
    }

    /// Leaves the key that the worker of `slot` has taken to another worker that shows it, or puts it back.
    pub(crate) fn leave_key_to_other(&mut self, slot: usize) {
        self.give_back_key_start(slot);
        let Some(shown) = self.slots[slot].key.take() else { return };
        let database = self.slots[slot].database;
        if !self.want_key(database, &shown.entry) {
            self.pass(database, &shown, KeyEntry { after: None, ..shown.entry });
        }
    }

    /// Admits the start of a task of the key that the worker of `slot` shows, whose tasks start `interval` microseconds apart
    /// at least. The start is given back if the worker does not begin the task.
    pub fn start_key(&mut self, slot: usize, interval: i64, now: i64) -> Admission {
        let Slot { database, key, .. } = self.slots[slot];
        let Some(shown) = key else { return Admission::Admitted };
        let admission = self.key_rates.admit(database, shown.entry.key, interval, now);
        let has_start = admission == Admission::Admitted;
        self.slots[slot].key = Some(ShownKey { has_start, ..shown });
        admission
    }

    /// The same for a session, for a worker outside.
    pub fn start_key_outside(
        &mut self,
        database: DatabaseId,
        key: Key,
        interval: i64,
        now: i64,
    ) -> Admission {
        self.key_rates.admit(database, key, interval, now)
    }

    /// Revokes the start that [`Shared::start_key`] has admitted, of a task that was not begun.
    pub(crate) fn give_back_key_start(&mut self, slot: usize) {
        let Slot { database, key, .. } = self.slots[slot];
        if let Some(shown) = key.filter(|shown| shown.has_start) {
            self.key_rates.give_back(database, shown.entry.key);
            self.slots[slot].key = Some(ShownKey { has_start: false, ..shown });
        }
    }

    /// Revokes a start that [`Shared::start_key_outside`] has admitted.
    pub fn give_back_key_start_outside(&mut self, database: DatabaseId, key: Key) {
        self.key_rates.give_back(database, key);
    }

    /// Until when the rate of a key lets no task start.
    pub fn key_refusal(&self, database: DatabaseId, key: Key, now: i64) -> Option<i64> {
        self.key_rates.refusal(database, key, now)
    }

    /// Notes the priority of the task that may start after the one that the worker of `slot` begins, if one of its key is
    /// due, and the place of that one if it is the first of the key. If several may run at a time, another worker looks for the
    /// next one now.
    pub fn note_follower(&mut self, slot: usize, follower: Option<i16>, first: Option<KeyPlace>, now: i64) {
        let database = self.slots[slot].database;
        let Some(shown) = &mut self.slots[slot].key else { return };
        (shown.has_follower, shown.first) = (follower.is_some(), first);
        let Some(priority) = follower else { return };
        shown.next_priority = shown.next_priority.max(priority);
        let shown = *shown;
        if self.shown(database, shown.entry.key) < shown.entry.max_running {
            if shown.is_stale {
                self.read_all_keys(database);
            } else if let Some(queue) = self.queue(database) {
                queue.keys_of(shown.lane).hand_over(shown.next(None, now));
            }
            self.pass_on_key(database);
        }
    }

    /// Corrects what is known of the key that the worker of `slot` shows: its lane and how many of its tasks may run at a time,
    /// which may be those of older definitions, and its priority. False if the key is now handed out in
    /// another lane, or behind others of a higher priority.
    pub fn correct_key(&mut self, slot: usize, lane: Lane, max_running: u32, priority: i16) -> bool {
        let database = self.slots[slot].database;
        let Some(shown) = &mut self.slots[slot].key else { return false };
        let is_right = shown.lane == lane && shown.entry.priority <= priority;
        (shown.lane, shown.entry.max_running, shown.entry.priority) = (lane, max_running, priority);
        if !is_right {
            self.put_back_key(slot);
            self.pass_on_key(database);
        }
        is_right
    }

    /// Ends the turn of the key whose task the worker of `slot` has run. A task whose call is stored still counts.
    pub fn end_key(&mut self, slot: usize, how: Over, now: i64) {
        let Some(shown) = self.slots[slot].key.as_mut().filter(|_| how != Over::GivenBack) else { return };
        shown.has_start = false;
        let shown = *shown;
        let may_follow = shown.has_follower && (how != Over::Calling || shown.entry.max_running > 1);
        let database = self.slots[slot].database;
        if shown.is_wanted {
            self.leave_key(slot, now);
        } else {
            self.slots[slot].key = None;
            if may_follow {
                self.pass(database, &shown, shown.next(shown.first, now));
            }
        }
        // The call may be the last one that this worker can have in flight.
        let may_be_full = how == Over::Calling || self.slots[slot].full || self.slots[slot].retire;
        if (shown.is_wanted || may_follow) && may_be_full {
            self.pass_on_key(database);
        }
    }

    /// Adds the keys that the worker of `slot`, the reader of the lane, has read with the definitions as of
    /// `definition_changes`.
    pub fn publish_keys(&mut self, slot: usize, lane: Lane, read: &ReadKeys, definition_changes: u64) {
        let database = self.slots[slot].database;
        self.take_in(slot, definition_changes, |queue, _| queue.publish_keys(lane, read));
        // A key that a slot shows may have been read with a task that was not announced.
        for entry in read.entries {
            self.want_key(database, entry);
        }
    }

    /// Adds keys that the worker of `slot` has found otherwise than by reading on. `swept`: a lane and the key after which its
    /// next sweep begins.
    pub fn add_keys(
        &mut self,
        slot: usize,
        found: &[(Lane, KeyEntry)],
        swept: Option<(Lane, Key)>,
        definition_changes: u64,
    ) {
        let database = self.slots[slot].database;
        let is_current = |database: &Database| database.definition_changes == definition_changes;
        if !self.database(database).is_none_or(|database| is_current(database)) {
            return;
        }
        found.iter().for_each(|(lane, entry)| self.hand_over_key(database, *lane, *entry));
        if self.slots[slot].full && !found.is_empty() {
            self.pass_on_key(database);
        }
        if let (Some((lane, end)), Some(queue)) = (swept, self.queue(database)) {
            queue.key_lines[lane.index()].swept = end;
        }
    }
}

#[cfg(test)]
mod tests;
