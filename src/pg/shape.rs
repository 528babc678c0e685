//! Whether a statement that writes a row of one of our tables would do anything else: fire a trigger, apply a rule,
//! check a constraint, insert into another index. That is read from the catalogs and cached until an invalidation
//! message for the table or one of its indexes arrives.

use super::session;
use super::spi::Statement;
use pgrx::pg_sys::BuiltinOid::{BOOLOID, INT2ARRAYOID, OIDOID, TEXTARRAYOID};
use pgrx::{IntoDatum, pg_sys};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32};

static SHAPE: Statement = Statement::new(
    include_str!("../../sql/runtime/shape.sql"),
    &[OIDOID, TEXTARRAYOID, INT2ARRAYOID, TEXTARRAYOID, BOOLOID],
);

/// Indexes whose changes are listened to. A table with more has some that are not ours.
const MAX_INDEXES: usize = 8;
/// How often the catalogs are read before a table that keeps changing is left to statements.
const MAX_READS: usize = 3;

// States of what is kept.
/// The first look of a process says that statements have to be used: reading the catalogs takes a new process longer
/// than a task, and a task that had to wait for the process should start.
const NEW: u8 = 0;
const UNKNOWN: u8 = 1;
const READING: u8 = 2;
const KNOWN: u8 = 3;

/// A table with a bigint as primary key, in its first column.
pub struct Shape {
    /// Its columns as shape.sql writes them; users may add others, unless rows are inserted.
    columns: &'static [&'static str],
    /// The numbers of the columns that are changed; they are in no key.
    changed: &'static [i16],
    /// Of its partial indexes, as PostgreSQL writes them: true of each row that is inserted, false of each that was
    /// changed.
    predicates: &'static [&'static str],
    inserts: bool,
    kept: Kept,
}

/// What is known of the table.
struct Kept {
    registered: AtomicBool,
    state: AtomicU8,
    table: AtomicU32,
    indexes: [AtomicU32; MAX_INDEXES],
    /// The index of the primary key; 0: statements have to be used.
    key: AtomicU32,
}

impl Shape {
    pub const fn new(
        columns: &'static [&'static str],
        changed: &'static [i16],
        predicates: &'static [&'static str],
        inserts: bool,
    ) -> Self {
        let kept = Kept {
            registered: AtomicBool::new(false),
            state: AtomicU8::new(NEW),
            table: AtomicU32::new(0),
            indexes: [const { AtomicU32::new(0) }; MAX_INDEXES],
            key: AtomicU32::new(0),
        };
        Shape { columns, changed, predicates, inserts, kept }
    }

    /// The index of the primary key of `table`, if rows may be written without the executor: as of now, and as long
    /// as the lock on the table is held that the caller has. `owner`: of the extension.
    pub fn key_index(&'static self, table: pg_sys::Oid, owner: pg_sys::Oid) -> Option<pg_sys::Oid> {
        if self.kept.state.load(Relaxed) == NEW {
            self.kept.state.store(UNKNOWN, Relaxed);
            return None;
        }
        if self.kept.state.load(Relaxed) != KNOWN {
            self.read(table, owner);
        }
        let key = self.kept.key.load(Relaxed);
        (key != 0).then(|| pg_sys::Oid::from_u32(key))
    }

    #[cold]
    fn read(&'static self, table: pg_sys::Oid, owner: pg_sys::Oid) {
        self.kept.listen(table);
        let args = [
            table.into_datum(),
            self.columns.to_vec().into_datum(),
            self.changed.to_vec().into_datum(),
            self.predicates.to_vec().into_datum(),
            self.inserts.into_datum(),
        ];
        for _ in 0..MAX_READS {
            self.kept.state.store(READING, Relaxed);
            let found = session::as_owner(owner, || {
                SHAPE.rows_as_of_now(&args, |row| {
                    (row.get::<i64>(1), row.get::<Vec<i64>>(2).unwrap_or_default())
                })
            });
            let (key, indexes) = found.into_iter().next().unwrap_or_default();
            if self.kept.keep(key.unwrap_or_default(), &indexes) {
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

    /// False if the table has changed since reading began; then what was read is not used.
    fn keep(&self, key: i64, indexes: &[i64]) -> bool {
        let is_current = self.state.load(Relaxed) == READING;
        let key = if is_current && indexes.len() <= MAX_INDEXES { key } else { 0 };
        self.key.store(key as u32, Relaxed);
        for (n, kept) in self.indexes.iter().enumerate() {
            kept.store(indexes.get(n).copied().unwrap_or_default() as u32, Relaxed);
        }
        if is_current {
            self.state.store(KNOWN, Relaxed);
        }
        is_current
    }

    /// While the catalogs are read, a change of any relation counts: the indexes of the table are not known yet.
    fn concerns(&self, relation: u32) -> bool {
        relation == 0
            || self.state.load(Relaxed) == READING
            || self.table.load(Relaxed) == relation
            || self.indexes.iter().any(|index| index.load(Relaxed) == relation)
    }
}

/// Neither allocates nor fails. `relation`: none means all.
unsafe extern "C-unwind" fn on_change(kept: pg_sys::Datum, relation: pg_sys::Oid) {
    // SAFETY: what `listen` has registered.
    let kept = unsafe { &*kept.cast_mut_ptr::<Kept>() };
    if kept.concerns(relation.to_u32()) {
        kept.state.store(UNKNOWN, Relaxed);
    }
}
