//! Determines whether a statement that writes a row of one of the extension's tables would do anything else: fire a
//! trigger, apply a rule, check a constraint, insert into another index. This is read from the relation cache, and kept
//! until an invalidation message for the table or one of its indexes arrives.

mod condition;
mod definition;
mod facts;
mod found;
mod wanted;

use found::Found;
use pgrx::pg_sys;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI16, AtomicU8, AtomicU32};
use wanted::Wanted;
pub(crate) use wanted::columns;
pub use wanted::{Column, Inserts};

/// The maximum number of indexes whose changes are tracked. A table with more has some that the extension did not
/// create.
const MAX_INDEXES: usize = 16;
/// The number of times that a table is read before statements are used for one that keeps changing.
const MAX_READS: usize = 3;

// The states of a kept shape.
const UNKNOWN: u8 = 0;
const READING: u8 = 1;
const KNOWN: u8 = 2;

/// The maximum number of indexes of which a shape knows the definition.
const MAX_ORDERS: usize = 2;

/// The maximum number of columns of a shape.
const MAX_COLUMNS: usize = 20;

/// The attribute numbers of a shape's columns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Numbers([i16; MAX_COLUMNS]);

impl Numbers {
    /// The index of a column in an array of all attributes.
    pub fn index(&self, column: Column) -> usize {
        self.0[column.0] as usize - 1
    }
}

/// The layout of a table whose rows can be written without the executor.
#[derive(Clone, Copy)]
pub struct Layout {
    /// The index of the primary key.
    pub key_index: pg_sys::Oid,
    pub numbers: Numbers,
    /// The indexes that get an entry for each row that is inserted; 0 for a free entry.
    pub entries: [u32; MAX_INDEXES],
    /// The sequence of the key, if it has one; otherwise 0.
    pub sequence: u32,
    /// The indexes of the shape's `orders`; 0 for one that does not exist.
    pub orders: [u32; MAX_ORDERS],
}

/// A table with one bigint column as primary key.
pub struct Shape {
    wanted: Wanted,
    kept: Kept,
}

/// What is kept about the table.
struct Kept {
    registered: AtomicBool,
    state: AtomicU8,
    table: AtomicU32,
    indexes: [AtomicU32; MAX_INDEXES],
    numbers: [AtomicI16; MAX_COLUMNS],
    /// The index of the primary key; 0 if statements have to be used.
    key: AtomicU32,
    entries: [AtomicU32; MAX_INDEXES],
    sequence: AtomicU32,
    orders: [AtomicU32; MAX_ORDERS],
}

impl Shape {
    pub const fn new(
        columns: &'static [&'static str],
        changed: &'static [Column],
        predicates: &'static [&'static str],
        inserts: Option<Inserts>,
        orders: &'static [&'static str],
    ) -> Self {
        assert!(columns.len() <= MAX_COLUMNS && orders.len() <= MAX_ORDERS);
        let kept = Kept {
            registered: AtomicBool::new(false),
            state: AtomicU8::new(UNKNOWN),
            table: AtomicU32::new(0),
            indexes: [const { AtomicU32::new(0) }; MAX_INDEXES],
            numbers: [const { AtomicI16::new(0) }; MAX_COLUMNS],
            key: AtomicU32::new(0),
            entries: [const { AtomicU32::new(0) }; MAX_INDEXES],
            sequence: AtomicU32::new(0),
            orders: [const { AtomicU32::new(0) }; MAX_ORDERS],
        };
        Shape { wanted: Wanted { columns, changed, predicates, inserts, orders }, kept }
    }

    /// The layout of `table`, if its rows may be written without the executor: as of now, and as long as the caller
    /// keeps its lock on the table. `owner`: whose privileges are used.
    pub fn layout(&'static self, table: pg_sys::Oid, owner: pg_sys::Oid) -> Option<Layout> {
        if self.kept.state.load(Relaxed) != KNOWN || self.kept.table.load(Relaxed) != table.to_u32() {
            self.read(table, owner);
        }
        let key = self.kept.key.load(Relaxed);
        (key != 0).then(|| Layout {
            key_index: pg_sys::Oid::from_u32(key),
            numbers: Numbers(std::array::from_fn(|place| self.kept.numbers[place].load(Relaxed))),
            entries: std::array::from_fn(|place| self.kept.entries[place].load(Relaxed)),
            sequence: self.kept.sequence.load(Relaxed),
            orders: std::array::from_fn(|place| self.kept.orders[place].load(Relaxed)),
        })
    }

    #[cold]
    fn read(&'static self, table: pg_sys::Oid, owner: pg_sys::Oid) {
        self.kept.listen(table);
        for _ in 0..MAX_READS {
            self.kept.state.store(READING, Relaxed);
            if self.kept.keep(&found::look(&self.wanted, table, owner)) {
                return;
            }
        }
    }
}

impl Kept {
    fn listen(&'static self, table: pg_sys::Oid) {
        self.table.store(table.to_u32(), Relaxed);
        if !self.registered.swap(true, Relaxed) {
            let kept = pg_sys::Datum::from(std::ptr::from_ref(self));
            // SAFETY: once per process and shape; the callback and what it is given live as long as the library.
            unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(on_change), kept) }
        }
    }

    /// False if the table has changed since reading began. The result is then not used.
    fn keep(&self, found: &Found) -> bool {
        let is_current = self.state.load(Relaxed) == READING;
        let key = found.key.filter(|_| is_current && found.indexes.len() <= MAX_INDEXES);
        self.key.store(key.map_or(0, pg_sys::Oid::to_u32), Relaxed);
        store(&self.indexes, &found.indexes);
        store(&self.entries, &found.entries);
        store(&self.orders, &found.orders);
        self.sequence.store(found.sequence.to_u32(), Relaxed);
        for (kept, number) in self.numbers.iter().zip(&found.numbers) {
            kept.store(*number, Relaxed);
        }
        if is_current {
            self.state.store(KNOWN, Relaxed);
        }
        is_current
    }

    /// While the table is read, a change of any relation counts, since the indexes of the table are not known yet.
    fn concerns(&self, relation: u32) -> bool {
        relation == 0
            || self.state.load(Relaxed) == READING
            || self.table.load(Relaxed) == relation
            || self.indexes.iter().any(|index| index.load(Relaxed) == relation)
    }
}

fn store(kept: &[AtomicU32], found: &[pg_sys::Oid]) {
    for (n, kept) in kept.iter().enumerate() {
        kept.store(found.get(n).map_or(0, |oid| oid.to_u32()), Relaxed);
    }
}

/// Neither allocates nor fails. An invalid `relation` stands for all relations.
unsafe extern "C-unwind" fn on_change(kept: pg_sys::Datum, relation: pg_sys::Oid) {
    // SAFETY: the value that `listen` has registered.
    let kept = unsafe { &*kept.cast_mut_ptr::<Kept>() };
    if kept.concerns(relation.to_u32()) {
        kept.state.store(UNKNOWN, Relaxed);
    }
}
