//! Determines whether a statement that writes a row of one of the extension's tables would do anything else: fire a
//! trigger, apply a rule, check a constraint, insert into another index. This is read from the catalogs and cached
//! until an invalidation message for the table or one of its indexes arrives.

use super::session;
use super::spi::Statement;
use pgrx::pg_sys::BuiltinOid::{BOOLOID, INT2ARRAYOID, OIDOID, TEXTARRAYOID};
use pgrx::{IntoDatum, pg_sys};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI16, AtomicU8, AtomicU32};

static SHAPE: Statement = Statement::new(
    include_str!("../../sql/runtime/shape.sql"),
    &[OIDOID, TEXTARRAYOID, INT2ARRAYOID, TEXTARRAYOID, BOOLOID],
);

/// The maximum number of indexes whose changes are tracked. A table with more has some that the extension did not
/// create.
const MAX_INDEXES: usize = 8;
/// The number of times that the catalogs are read before statements are used for a table that keeps changing.
const MAX_READS: usize = 3;

// The states of a cached shape.
/// The initial state of a process, in which statements are used: reading the catalogs takes a new process longer than a
/// task, and a task that had to wait for the process should start.
const NEW: u8 = 0;
const UNKNOWN: u8 = 1;
const READING: u8 = 2;
const KNOWN: u8 = 3;

/// The maximum number of columns of a shape.
const MAX_COLUMNS: usize = 16;

/// A column, by its index in the list of its [`Shape`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Column(pub usize);

impl Column {
    /// The primary key.
    pub const KEY: Column = Column(0);
}

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
}

/// A table with one bigint column as primary key.
pub struct Shape {
    /// The columns in the format of shape.sql, the key first. The table may have them in any order, and may have others
    /// unless rows are inserted.
    columns: &'static [&'static str],
    /// The columns that are changed. They are part of no key.
    changed: &'static [Column],
    /// The predicates of the partial indexes, as PostgreSQL writes them. They are true of each row that is inserted,
    /// and false of each row that was changed.
    predicates: &'static [&'static str],
    inserts: bool,
    kept: Kept,
}

/// What is cached about the table.
struct Kept {
    registered: AtomicBool,
    state: AtomicU8,
    table: AtomicU32,
    indexes: [AtomicU32; MAX_INDEXES],
    numbers: [AtomicI16; MAX_COLUMNS],
    /// The index of the primary key; 0 if statements have to be used.
    key: AtomicU32,
}

impl Shape {
    pub const fn new(
        columns: &'static [&'static str],
        changed: &'static [Column],
        predicates: &'static [&'static str],
        inserts: bool,
    ) -> Self {
        assert!(columns.len() <= MAX_COLUMNS);
        let kept = Kept {
            registered: AtomicBool::new(false),
            state: AtomicU8::new(NEW),
            table: AtomicU32::new(0),
            indexes: [const { AtomicU32::new(0) }; MAX_INDEXES],
            numbers: [const { AtomicI16::new(0) }; MAX_COLUMNS],
            key: AtomicU32::new(0),
        };
        Shape { columns, changed, predicates, inserts, kept }
    }

    /// The layout of `table`, if its rows may be written without the executor: as of now, and as long as the caller
    /// keeps its lock on the table. `owner`: of the extension.
    pub fn layout(&'static self, table: pg_sys::Oid, owner: pg_sys::Oid) -> Option<Layout> {
        if self.kept.state.load(Relaxed) == NEW {
            self.kept.state.store(UNKNOWN, Relaxed);
            return None;
        }
        if self.kept.state.load(Relaxed) != KNOWN {
            self.read(table, owner);
        }
        let key = self.kept.key.load(Relaxed);
        (key != 0).then(|| Layout {
            key_index: pg_sys::Oid::from_u32(key),
            numbers: Numbers(std::array::from_fn(|place| self.kept.numbers[place].load(Relaxed))),
        })
    }

    #[cold]
    fn read(&'static self, table: pg_sys::Oid, owner: pg_sys::Oid) {
        self.kept.listen(table);
        let args = [
            table.into_datum(),
            self.columns.to_vec().into_datum(),
            self.changed.iter().map(|column| column.0 as i16 + 1).collect::<Vec<i16>>().into_datum(),
            self.predicates.to_vec().into_datum(),
            self.inserts.into_datum(),
        ];
        for _ in 0..MAX_READS {
            self.kept.state.store(READING, Relaxed);
            let found = session::as_owner(owner, || {
                SHAPE.rows_as_of_now(&args, |row| {
                    (
                        row.get::<i64>(1).unwrap_or_default(),
                        row.get::<Vec<i64>>(2).unwrap_or_default(),
                        row.get::<Vec<i16>>(3).unwrap_or_default(),
                    )
                })
            });
            let (key, indexes, numbers) = found.into_iter().next().unwrap_or_default();
            if self.kept.keep(key, &indexes, &numbers) {
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
    fn keep(&self, key: i64, indexes: &[i64], numbers: &[i16]) -> bool {
        let is_current = self.state.load(Relaxed) == READING;
        let key = if is_current && indexes.len() <= MAX_INDEXES { key } else { 0 };
        self.key.store(key as u32, Relaxed);
        for (n, kept) in self.indexes.iter().enumerate() {
            kept.store(indexes.get(n).copied().unwrap_or_default() as u32, Relaxed);
        }
        for (kept, number) in self.numbers.iter().zip(numbers) {
            kept.store(*number, Relaxed);
        }
        if is_current {
            self.state.store(KNOWN, Relaxed);
        }
        is_current
    }

    /// While the catalogs are read, a change of any relation counts, since the indexes of the table are not known yet.
    fn concerns(&self, relation: u32) -> bool {
        relation == 0
            || self.state.load(Relaxed) == READING
            || self.table.load(Relaxed) == relation
            || self.indexes.iter().any(|index| index.load(Relaxed) == relation)
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
