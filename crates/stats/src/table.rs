//! The table of entries.

use crate::entry::Entry;
use crate::key::{Key, Kind};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// The time between two replacements, in microseconds: with many more keys than entries, to find an entry that can be given
/// away would take longer than what is counted.
const PAUSE: i64 = 1_000_000;

/// The number of entries for all databases of a server.
pub const ENTRIES: usize = 1000;

/// Where an entry is, as long as it belongs to the same key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handle {
    place: u32,
    generation: u32,
}

impl Handle {
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.place)
    }

    pub(crate) fn from_bits(bits: u64) -> Handle {
        Handle { place: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// The entries, found by the digests of their keys. All bits may be 0: then the table is empty.
pub struct Table<const N: usize = ENTRIES> {
    /// The digests of the entries' keys; 0 for a free entry.
    digests: [AtomicU64; N],
    entries: [Entry; N],
    /// How many entries were given to another key because the table was full.
    replaced: AtomicU64,
    replaced_at: AtomicI64,
    /// How often something was not counted because the table was full.
    uncounted: AtomicU64,
}

impl<const N: usize> Table<N> {
    /// The entry of a handle, if it still belongs to its key. No lock is needed.
    pub fn get(&self, handle: Handle) -> Option<&Entry> {
        self.entries.get(handle.place as usize).filter(|entry| entry.generation() == handle.generation)
    }

    /// The number of entries in use. The caller holds the lock of the table.
    pub fn used(&self) -> usize {
        self.all().count()
    }

    /// The number of entries that were given to another key because the table was full.
    pub fn replaced(&self) -> u64 {
        self.replaced.load(Relaxed)
    }

    /// How often something was not counted because the table was full.
    pub fn uncounted(&self) -> u64 {
        self.uncounted.load(Relaxed)
    }

    /// Notes that something is not counted.
    pub fn note_uncounted(&self) {
        self.uncounted.fetch_add(1, Relaxed);
    }

    pub(crate) fn restore_lost(&self, replaced: u64, uncounted: u64) {
        self.replaced.store(replaced, Relaxed);
        self.uncounted.store(uncounted, Relaxed);
    }

    /// The entry of a key, which is added if it is not there; `None` if the table is full and no entry can be given away
    /// now. The caller holds the lock of the table exclusively.
    pub fn find_or_add(&self, key: &Key, now: i64) -> Option<Handle> {
        self.find_or_give(key.digest(), key, now)
    }

    pub(crate) fn find_or_give(&self, digest: u64, key: &Key, now: i64) -> Option<Handle> {
        let place = match self.place_of(digest) {
            Some(place) => place,
            None => {
                let place = self.place_of(0).or_else(|| self.give_away(now))?;
                self.digests[place].store(digest, Relaxed);
                self.entries[place].give_to(key, now);
                place
            }
        };
        Some(Handle { place: place as u32, generation: self.entries[place].generation() })
    }

    /// The entry with this digest. The caller holds the lock of the table.
    pub fn find(&self, digest: u64) -> Option<Handle> {
        let place = self.place_of(digest)?;
        Some(Handle { place: place as u32, generation: self.entries[place].generation() })
    }

    fn place_of(&self, wanted: u64) -> Option<usize> {
        self.digests.iter().position(|digest| digest.load(Relaxed) == wanted)
    }

    fn give_away(&self, now: i64) -> Option<usize> {
        // The clock may have been set back.
        if (0..PAUSE).contains(&(now - self.replaced_at.load(Relaxed))) {
            return None;
        }
        self.replaced_at.store(now, Relaxed);
        self.replaced.fetch_add(1, Relaxed);
        Some(self.dispensable())
    }

    /// The entry that was used least recently, of the database that has most.
    fn dispensable(&self) -> usize {
        let counts = || self.entries.iter().enumerate().filter(|(_, entry)| entry.kind() != Kind::Database);
        let mut sizes: [(u32, usize); N] = std::array::from_fn(|_| (0, 0));
        for (_, entry) in counts() {
            let database = entry.database();
            if let Some(size) = sizes.iter_mut().find(|(known, size)| *known == database || *size == 0) {
                *size = (database, size.1 + 1);
            }
        }
        let largest = sizes.iter().max_by_key(|(_, size)| *size).map_or(0, |(database, _)| *database);
        let of_largest = counts().filter(|(_, entry)| entry.database() == largest);
        of_largest.min_by_key(|(_, entry)| entry.used_at()).map_or(0, |(place, _)| place)
    }

    /// All entries with their digests and handles. The caller holds the lock of the table.
    pub(crate) fn all(&self) -> impl Iterator<Item = (u64, Handle, &Entry)> {
        let used = self.digests.iter().map(|digest| digest.load(Relaxed)).zip(&self.entries).enumerate();
        used.filter(|(_, (digest, _))| *digest != 0).map(|(place, (digest, entry))| {
            (digest, Handle { place: place as u32, generation: entry.generation() }, entry)
        })
    }

    /// The entries of a database. The caller holds the lock of the table.
    pub fn of_database(&self, database: u32) -> impl Iterator<Item = (Handle, &Entry)> {
        let all = self.all().filter(move |(.., entry)| entry.database() == database);
        all.map(|(_, handle, entry)| (handle, entry))
    }

    #[cfg(test)]
    pub fn empty() -> Box<Self> {
        Box::new(Table {
            digests: [const { AtomicU64::new(0) }; N],
            entries: [const { Entry::free() }; N],
            replaced: AtomicU64::new(0),
            replaced_at: AtomicI64::new(0),
            uncounted: AtomicU64::new(0),
        })
    }

    /// Begins to count again: everything of a database, or one task type. The caller holds the lock of the table
    /// exclusively.
    pub fn reset(&self, database: u32, task_type: Option<&str>, now: i64) {
        self.of_database(database)
            .filter(|(_, entry)| task_type.is_none_or(|name| entry.is_of_type(name)))
            .for_each(|(_, entry)| entry.reset(now));
    }
}
