//! The keys of a lane that may have a task to run: a window of them, and how far the table has been read.
//!
//! Keys that are not in the window are found by reading: in the order of their digests, and again from the first one after
//! the last. So while there are more keys than the window holds, they take turns.

use crate::lane::Lane;
use crate::line::NOBODY;
use crate::position::Position;

/// Identifies tasks of one type and key by their digests, as the index of the table does. Keys with the same digests share
/// their turns.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    pub task_type: i64,
    pub queue_key: i64,
}

impl Key {
    /// The key before all others in the order of reading.
    pub const FIRST: Key = Key { task_type: i64::MIN, queue_key: i64::MIN };
}

/// A key that may have a task to run. The worker that takes it still has to look for the task.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KeyEntry {
    pub key: Key,
    /// The place of the key among other keys and tasks: the time of its task or of its last turn, in microseconds since
    /// 2000-01-01.
    pub since: i64,
    pub priority: i16,
    /// The number of tasks of the key that may run at a time.
    pub max_running: u32,
    /// The last task of the key that has ended, if it is certain that none before it waits: nothing was announced of the
    /// key since that task was claimed as the first one.
    pub after: Option<KeyPlace>,
}

/// The place of a task in the order of its key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KeyPlace {
    /// Microseconds since 2000-01-01.
    pub scheduled_at: i64,
    pub task_id: i64,
}

impl KeyEntry {
    pub(crate) const NONE: KeyEntry =
        KeyEntry { key: Key::FIRST, since: i64::MAX, priority: 0, max_running: 1, after: None };

    pub fn position(&self) -> Position {
        Position { priority: self.priority, scheduled_at: self.since, task_id: 0 }
    }
}

/// A key that a worker has taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ShownKey {
    pub lane: Lane,
    pub entry: KeyEntry,
    /// The key may have another task to run once this worker has ended its task.
    pub is_wanted: bool,
    /// When the task was claimed, another one of the key was due.
    pub has_follower: bool,
    /// The highest priority that such a task may have.
    pub next_priority: i16,
    /// The place of the task, if it is the first of the key and none may run beside it.
    pub first: Option<KeyPlace>,
    /// A start was counted towards the rate of the key.
    pub has_start: bool,
    /// Definitions have changed since the worker took the key, so that it may belong to another lane.
    pub is_stale: bool,
}

impl ShownKey {
    pub(crate) fn new(lane: Lane, entry: KeyEntry) -> ShownKey {
        ShownKey {
            lane,
            entry,
            is_wanted: false,
            has_follower: false,
            next_priority: i16::MIN,
            first: None,
            has_start: false,
            is_stale: false,
        }
    }

    /// Notes that another task of the key may run after this one.
    pub(crate) fn want(&mut self, priority: i16) {
        self.is_wanted = true;
        self.next_priority = self.next_priority.max(priority);
    }

    /// The entry for the next task of the key, whose turn begins at `now`.
    pub(crate) fn next(&self, after: Option<KeyPlace>, now: i64) -> KeyEntry {
        KeyEntry { since: now, priority: self.next_priority, after, ..self.entry }
    }
}

/// The keys that a worker has read.
pub struct ReadKeys<'a> {
    /// In the order of keys. Each has a task that is due.
    pub entries: &'a [KeyEntry],
    /// The key up to which was read; `None`: to the last one.
    pub end: Option<Key>,
    /// The time as of which was read, in microseconds since 2000-01-01.
    pub now: i64,
    /// The database has no unfinished task with a key, of any lane and time.
    pub is_unused: bool,
}

/// The state of a lane's keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KeyLine {
    /// The key after which the table is read next.
    pub cursor: Key,
    /// The slot of the worker that reads, or [`NOBODY`].
    pub reader: u32,
    /// How often reading has to reach the last key before every key is known that has a task to run.
    pub ends: u8,
    /// A task with a key was noted during the current read.
    pub is_disturbed: bool,
    /// The number of keys in the window.
    pub len: usize,
    /// When reading last reached the last key, in microseconds since 2000-01-01.
    pub round_at: i64,
    /// The key after which the next sweep begins.
    pub swept: Key,
}

impl KeyLine {
    pub(crate) const NEW: KeyLine = KeyLine {
        cursor: Key::FIRST,
        reader: NOBODY,
        ends: 1,
        is_disturbed: false,
        len: 0,
        round_at: i64::MIN,
        swept: Key::FIRST,
    };

    /// True if keys may have tasks that are not known, and no worker is reading.
    pub(crate) fn is_unread(&self) -> bool {
        self.ends > 0 && self.reader == NOBODY
    }

    /// Lets all keys be read again: a key is not known that may have a task to run.
    pub(crate) fn rewind(&mut self) {
        // A read that has begun may have passed the key.
        self.ends = if self.cursor == Key::FIRST && self.reader == NOBODY { 1 } else { 2 };
    }

    pub(crate) fn stop_reading(&mut self) {
        self.reader = NOBODY;
        self.is_disturbed = false;
    }
}

/// A lane's keys. The next one is the last of the slice.
pub(crate) struct KeyWindow<'a> {
    pub line: &'a mut KeyLine,
    pub entries: &'a mut [KeyEntry],
}

impl KeyWindow<'_> {
    pub fn next(&self) -> Option<Position> {
        self.line.len.checked_sub(1).map(|last| self.entries[last].position())
    }

    pub fn take(&mut self) -> Option<KeyEntry> {
        self.line.len = self.line.len.checked_sub(1)?;
        Some(self.entries[self.line.len])
    }

    /// True if keys have to be read before the next one is taken.
    pub fn wants_reading(&self) -> bool {
        self.line.ends > 0 && self.line.len <= self.enough()
    }

    /// The number of keys from which on no more are read.
    fn enough(&self) -> usize {
        self.entries.len() * 3 / 8
    }

    /// Adds a key that may have a task to run. While there are more keys than the window holds, it is found by reading: the
    /// same few keys would otherwise always precede the others.
    pub fn hand_over(&mut self, entry: KeyEntry) {
        let is_first = || entry.priority > self.entries[0].priority;
        if self.line.ends == 0 || self.line.len < self.enough() || is_first() || self.holds(entry.key) {
            self.insert(entry);
        } else {
            self.line.rewind();
        }
    }

    /// Adds what the reader has found, as far as the window has room.
    pub fn publish(&mut self, read: &ReadKeys) {
        self.line.stop_reading();
        for entry in read.entries {
            if self.line.len == self.entries.len() && !self.holds(entry.key) {
                return;
            }
            // A key whose turn has come since the last round stands behind those that still wait for theirs.
            self.insert(KeyEntry { since: entry.since.max(self.line.round_at), ..*entry });
            self.line.cursor = entry.key;
        }
        match read.end {
            Some(key) => self.line.cursor = key,
            None => {
                self.line.cursor = Key::FIRST;
                self.line.round_at = read.now;
                self.line.ends = self.line.ends.saturating_sub(1);
            }
        }
    }

    /// Lets all keys be read again, since tasks may have been announced that are not known.
    pub fn rewind(&mut self) {
        self.entries[..self.line.len].iter_mut().for_each(|entry| entry.after = None);
        self.line.rewind();
    }

    fn holds(&self, key: Key) -> bool {
        self.entries[..self.line.len].iter().any(|known| known.key == key)
    }

    /// Adds a key, once. A full window drops its last key, which is read again later.
    pub fn insert(&mut self, mut entry: KeyEntry) {
        let known = self.entries[..self.line.len].iter().position(|known| known.key == entry.key);
        if let Some(known) = known {
            // What is announced now may stand before `after`.
            self.entries[known].after = None;
            // The later entry knows the later definition.
            self.entries[known].max_running = entry.max_running;
            if self.entries[known].position() <= entry.position() {
                return;
            }
            self.entries.copy_within(known + 1..self.line.len, known);
            self.line.len -= 1;
            entry.after = None;
        }
        let index =
            self.entries[..self.line.len].partition_point(|known| known.position() > entry.position());
        if self.line.len < self.entries.len() {
            self.entries.copy_within(index..self.line.len, index + 1);
            self.entries[index] = entry;
            self.line.len += 1;
            return;
        }
        self.line.rewind();
        if index > 0 {
            self.entries.copy_within(1..index, 0);
            self.entries[index - 1] = entry;
        }
    }
}

#[cfg(test)]
mod tests;
