//! The entries that this process has found, so that counting takes no lock.

use crate::pg::{backend, stats_memory};
use pg_errand_stats::{Entry, Handle, Key, Kind, Role};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};

/// The number of entries that a process remembers.
const MAX_KNOWN: usize = 2048;
/// The time after which an entry is looked for again that could not be added, in microseconds.
const PAUSE: i64 = 1_000_000;

/// An entry, or until when the table is known to be full.
#[derive(Clone, Copy)]
enum Known {
    At(Handle),
    NotBefore(i64),
}

/// A key that this process has used lately.
struct Recent {
    kind: Kind,
    role: Role,
    task_type: String,
    name: String,
    handle: Handle,
}

impl Recent {
    fn is_of(&self, key: &Key) -> bool {
        self.kind == key.kind
            && self.role == key.role
            && self.task_type == key.task_type
            && self.name == key.name
    }
}

/// The number of keys that are compared before a digest is computed.
const MAX_RECENT: usize = 8;

thread_local! {
    /// The keys that were used last, of the database of this process.
    static RECENT: RefCell<VecDeque<Recent>> = const { RefCell::new(VecDeque::new()) };
    /// The entries by the digests of their keys.
    static KNOWN: RefCell<HashMap<u64, Known>> = RefCell::new(HashMap::new());
}

/// The entry of a key; `None` if nothing is counted for it now.
pub fn entry(key: &Key) -> Option<&'static Entry> {
    find(key).and_then(|handle| stats_memory::table()?.get(handle))
}

/// Where the entry of a key is.
pub fn find(key: &Key) -> Option<Handle> {
    let table = stats_memory::table()?;
    let recent = RECENT
        .with_borrow(|recent| recent.iter().find(|recent| recent.is_of(key)).map(|recent| recent.handle));
    if recent.is_some_and(|handle| table.get(handle).is_some()) {
        return recent;
    }
    let handle = find_by_digest(key)?;
    RECENT.with_borrow_mut(|recent| {
        recent.retain(|recent| !recent.is_of(key));
        recent.truncate(MAX_RECENT - 1);
        let (task_type, name) = (key.task_type.to_owned(), key.name.to_owned());
        recent.push_front(Recent { kind: key.kind, role: key.role, task_type, name, handle });
    });
    Some(handle)
}

fn find_by_digest(key: &Key) -> Option<Handle> {
    let table = stats_memory::table()?;
    let digest = key.digest();
    match KNOWN.with_borrow(|known| known.get(&digest).copied()) {
        Some(Known::At(handle)) if table.get(handle).is_some() => return Some(handle),
        Some(Known::NotBefore(time)) if time > backend::now() => {
            table.note_uncounted();
            return None;
        }
        _ => {}
    }
    let now = backend::now();
    let found = stats_memory::change(|table| table.find_or_add(key, now)).flatten();
    if found.is_none() {
        table.note_uncounted();
    }
    KNOWN.with_borrow_mut(|known| {
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(digest, found.map_or(Known::NotBefore(now + PAUSE), Known::At));
    });
    found
}
