//! Rows of a table of ours, found by their key, locked and changed without the executor: what a
//! statement does for one row, at a fraction of its cost.
//!
//! Only for a table of which it is certain that a statement would do nothing else (see [`Shape`]): triggers, rules,
//! constraints and indexes that users added are the executor's business.

use super::shape::{Column, Layout, Numbers, Shape};
use pg_errand_queue::Address;
use pgrx::itemptr::item_pointer_set_all;
use pgrx::pg_sys;

/// A table with one bigint column as primary key.
#[derive(Clone, Copy)]
pub struct Table {
    pub oid: pg_sys::Oid,
    /// The extension's owner.
    pub owner: pg_sys::Oid,
    pub shape: &'static Shape,
}

/// What came of trying to lock a row.
pub enum Lock {
    Locked(Row),
    /// There is none, somebody else has it, or it is not the way it was wanted.
    Not,
    /// A statement would do more.
    ByStatement,
}

/// A row that this transaction has locked; a copy that lives as long.
pub struct Row {
    table: Table,
    /// The file of the table when the row was locked: in another file the row has another address.
    file: pg_sys::Oid,
    tuple: pg_sys::HeapTuple,
    numbers: Numbers,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

/// A row as it stands on its page.
pub struct Seen<'a> {
    numbers: &'a Numbers,
    values: &'a [pg_sys::Datum],
    nulls: &'a [bool],
}

impl Seen<'_> {
    /// A column's value; `None` for null.
    pub fn get(&self, column: Column) -> Option<pg_sys::Datum> {
        let index = self.numbers.index(column);
        (!self.nulls[index]).then(|| self.values[index])
    }
}

impl Row {
    /// A column's value; `None` for null.
    pub fn get(&self, column: Column) -> Option<pg_sys::Datum> {
        Seen { numbers: &self.numbers, values: &self.values, nulls: &self.nulls }.get(column)
    }

    /// Changes columns that are in no key, so that the row is in no partial index any more. False if it has to be done
    /// by a statement: that would do more, or this transaction has since changed the row, or altered, rewritten or
    /// truncated the table, as a handler may.
    pub fn update(&self, changes: &[(Column, Option<pg_sys::Datum>)]) -> bool {
        let width = self.values.len();
        let (mut values, mut nulls) = (vec![pg_sys::Datum::null(); width], vec![false; width]);
        let mut changed = vec![false; width];
        for (column, value) in changes {
            let index = self.numbers.index(*column);
            values[index] = value.unwrap_or(pg_sys::Datum::null());
            nulls[index] = value.is_none();
            changed[index] = true;
        }
        // SAFETY: within the transaction that locked the row; arrays as wide as the table, which nobody else can alter
        // meanwhile.
        unsafe {
            let relation = open(self.table.oid);
            let is_same = (*(*relation).rd_rel).relfilenode == self.file
                && (*(*relation).rd_att).natts as usize == width;
            let layout = self.table.layout().filter(|layout| is_same && layout.numbers == self.numbers);
            let Some(layout) = layout else {
                pg_sys::relation_close(relation, pg_sys::NoLock as _);
                return false;
            };
            let new = pg_sys::heap_modify_tuple(
                self.tuple,
                (*relation).rd_att,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
                changed.as_mut_ptr(),
            );
            let done = heap_update(relation, self.tuple, new);
            if done && !is_heap_only(new) {
                self.insert_key(relation, layout.key_index, new);
            }
            pg_sys::relation_close(relation, pg_sys::NoLock as _);
            if done {
                pg_sys::CommandCounterIncrement();
            }
            done
        }
    }

    /// Only the key's index has an entry for it. That the key is unique need not be
    /// checked again (which reads the old row while the index page is locked): it is the old row's, which
    /// is locked, and whoever inserts the same key meets that and waits for us.
    unsafe fn insert_key(&self, relation: pg_sys::Relation, key: pg_sys::Oid, new: pg_sys::HeapTuple) {
        // SAFETY: as ExecInsertIndexTuples does it for an unchanged key of an index that is not unique.
        unsafe {
            let index = pg_sys::index_open(key, pg_sys::RowExclusiveLock as _);
            pg_sys::index_insert(
                index,
                [self.values[self.numbers.index(Column::KEY)]].as_mut_ptr(),
                [false].as_mut_ptr(),
                &raw mut (*new).t_self,
                relation,
                pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO,
                true,
                pg_sys::BuildIndexInfo(index),
            );
            pg_sys::index_close(index, pg_sys::NoLock as _);
        }
    }
}

impl Table {
    /// To be asked while the table is locked for writing, before each change: by then all is known that others have
    /// done to the table.
    fn layout(&self) -> Option<Layout> {
        self.shape.layout(self.oid, self.owner)
    }

    /// Inserts a row that belongs into every index of the table, each of which is of one column. Columns that are not in
    /// `row` are null. False if it has to be done by a statement: that would do more.
    pub fn insert(&self, row: &[(Column, Option<pg_sys::Datum>)]) -> bool {
        // SAFETY: within a transaction; arrays as wide as the table.
        unsafe {
            let relation = open(self.oid);
            let layout = self.layout();
            if let Some(Layout { numbers, .. }) = layout {
                let width = (*(*relation).rd_att).natts as usize;
                let (mut values, mut nulls) = (vec![pg_sys::Datum::null(); width], vec![true; width]);
                for (column, value) in row {
                    let index = numbers.index(*column);
                    values[index] = value.unwrap_or(pg_sys::Datum::null());
                    nulls[index] = value.is_none();
                }
                let tuple =
                    pg_sys::heap_form_tuple((*relation).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
                pg_sys::simple_heap_insert(relation, tuple);
                insert_entries(relation, tuple, &values, &nulls);
                pg_sys::CommandCounterIncrement();
            }
            pg_sys::relation_close(relation, pg_sys::NoLock as _);
            layout.is_some()
        }
    }

    /// True if a statement does nothing besides writing a row; within a transaction that has written to the table.
    pub fn is_plain(&self) -> bool {
        self.layout().is_some()
    }

    /// Takes the lock that later changes in this transaction need. Reading first and taking it then would
    /// deadlock with REINDEX, which takes locks on the table and its indexes.
    pub fn lock_for_writing(&self) {
        // SAFETY: within a transaction; the lock is kept to its end.
        unsafe { pg_sys::relation_close(open(self.oid), pg_sys::NoLock as _) }
    }

    /// Locks the row with this key against changes, if it is as `wanted` and nobody else has it. `address`:
    /// where it was seen last.
    pub fn lock(&self, id: i64, address: Option<Address>, wanted: impl Fn(&Seen) -> bool) -> Lock {
        // SAFETY: within a transaction; what is opened is closed, by the transaction's abort if
        // something raises.
        unsafe {
            let relation = open(self.oid);
            let Some(layout) = self.layout() else {
                pg_sys::relation_close(relation, pg_sys::NoLock as _);
                return Lock::ByStatement;
            };
            let mut tried = address
                .map_or(Try::Moved, |address| self.lock_at(relation, &layout.numbers, id, address, &wanted));
            while matches!(tried, Try::Moved) {
                tried = self.lock_by_key(relation, &layout, id, &wanted);
            }
            pg_sys::relation_close(relation, pg_sys::NoLock as _);
            if let Try::Locked(row) = tried { Lock::Locked(row) } else { Lock::Not }
        }
    }

    /// Saves the way through the index.
    unsafe fn lock_at(
        &self,
        relation: pg_sys::Relation,
        numbers: &Numbers,
        id: i64,
        address: Address,
        wanted: &impl Fn(&Seen) -> bool,
    ) -> Try {
        let mut tuple = pg_sys::HeapTupleData::default();
        let mut buffer = pg_sys::InvalidBuffer as pg_sys::Buffer;
        // SAFETY: an open relation; the version that is found is the snapshot's, and stays pinned until the
        // buffer is released.
        unsafe {
            // The table may have been truncated.
            let pages = pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM);
            if address.page >= pages {
                return Try::Moved;
            }
            item_pointer_set_all(&mut tuple.t_self, address.page, address.line);
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            let snapshot = pg_sys::GetActiveSnapshot();
            let found = fetch(relation, snapshot, &mut tuple, &mut buffer);
            pg_sys::PopActiveSnapshot();
            if !found {
                return Try::Moved;
            }
            let mut other = false;
            let tried = self.lock_found(relation, numbers, &mut tuple, |row| {
                other = row.get(Column::KEY).is_none_or(|key| key.value() as i64 != id);
                !other && wanted(row)
            });
            pg_sys::ReleaseBuffer(buffer);
            // Another row stands there now.
            if other { Try::Moved } else { tried }
        }
    }

    unsafe fn lock_by_key(
        &self,
        relation: pg_sys::Relation,
        layout: &Layout,
        id: i64,
        wanted: &impl Fn(&Seen) -> bool,
    ) -> Try {
        // SAFETY: an open relation, a slot for its rows; the snapshot is active as long as the scan
        // needs it.
        unsafe {
            let index = pg_sys::index_open(layout.key_index, pg_sys::RowExclusiveLock as _);
            let slot = pg_sys::table_slot_create(relation, std::ptr::null_mut());
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            let scan = begin_scan(relation, index);
            let mut key = pg_sys::ScanKeyData::default();
            pg_sys::ScanKeyInit(
                &mut key,
                1,
                pg_sys::BTEqualStrategyNumber as _,
                pg_sys::Oid::from(pg_sys::F_INT8EQ),
                pg_sys::Datum::from(id),
            );
            pg_sys::index_rescan(scan, &mut key, 1, std::ptr::null_mut(), 0);
            let found = pg_sys::index_getnext_slot(scan, pg_sys::ScanDirection::ForwardScanDirection, slot);
            let tried = if found {
                let tuple = pg_sys::ExecFetchSlotHeapTuple(slot, false, std::ptr::null_mut());
                self.lock_found(relation, &layout.numbers, tuple, wanted)
            } else {
                Try::Not
            };
            pg_sys::index_endscan(scan);
            pg_sys::PopActiveSnapshot();
            pg_sys::ExecDropSingleTupleTableSlot(slot);
            pg_sys::index_close(index, pg_sys::NoLock as _);
            tried
        }
    }

    /// `found`: a version on its page, which is pinned.
    unsafe fn lock_found(
        &self,
        relation: pg_sys::Relation,
        numbers: &Numbers,
        found: pg_sys::HeapTuple,
        mut wanted: impl FnMut(&Seen) -> bool,
    ) -> Try {
        // SAFETY: a version of a row of the relation; the lock finds it by its address.
        unsafe {
            let shape = (*relation).rd_att;
            let (values, nulls) = deform(found, shape);
            if !wanted(&Seen { numbers, values: &values, nulls: &nulls }) {
                return Try::Not;
            }
            let mut tuple = pg_sys::HeapTupleData { t_self: (*found).t_self, ..Default::default() };
            let mut buffer = pg_sys::InvalidBuffer as pg_sys::Buffer;
            let mut failure = pg_sys::TM_FailureData::default();
            let locked = pg_sys::heap_lock_tuple(
                relation,
                &mut tuple,
                pg_sys::GetCurrentCommandId(true),
                pg_sys::LockTupleMode::LockTupleNoKeyExclusive,
                pg_sys::LockWaitPolicy::LockWaitSkip,
                false,
                &mut buffer,
                &mut failure,
            );
            let tried = match locked {
                pg_sys::TM_Result::TM_Ok => {
                    let copy = pg_sys::heap_copytuple(&mut tuple);
                    let (values, nulls) = deform(copy, shape);
                    let file = (*(*relation).rd_rel).relfilenode;
                    Try::Locked(Row { table: *self, file, tuple: copy, numbers: *numbers, values, nulls })
                }
                pg_sys::TM_Result::TM_Updated | pg_sys::TM_Result::TM_Deleted => Try::Moved,
                _ => Try::Not,
            };
            pg_sys::ReleaseBuffer(buffer);
            tried
        }
    }
}

/// Opens a table to change it. Its lock is waited for as long as it takes, whatever `lock_timeout` the
/// role has for its handlers.
unsafe fn open(table: pg_sys::Oid) -> pg_sys::Relation {
    struct Restore(i32);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: a plain setting; main thread.
            unsafe { pg_sys::LockTimeout = self.0 }
        }
    }
    // SAFETY: within a transaction.
    unsafe {
        let _restore = Restore(pg_sys::LockTimeout);
        pg_sys::LockTimeout = 0;
        pg_sys::table_open(table, pg_sys::RowExclusiveLock as _)
    }
}

enum Try {
    Locked(Row),
    Not,
    /// It is to be looked for (again).
    Moved,
}

/// Inserts an entry into each index, as ExecInsertIndexTuples does.
unsafe fn insert_entries(
    relation: pg_sys::Relation,
    new: pg_sys::HeapTuple,
    values: &[pg_sys::Datum],
    nulls: &[bool],
) {
    // SAFETY: an open relation, a row of it that was just inserted; the list is a copy.
    unsafe {
        let indexes = pg_sys::RelationGetIndexList(relation);
        for i in 0..(*indexes).length {
            let oid = (*(*indexes).elements.add(i as usize)).oid_value;
            let index = pg_sys::index_open(oid, pg_sys::RowExclusiveLock as _);
            let info = pg_sys::BuildIndexInfo(index);
            let column = (*info).ii_IndexAttrNumbers[0] as usize;
            let check = if (*info).ii_Unique {
                pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES
            } else {
                pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO
            };
            pg_sys::index_insert(
                index,
                [values[column - 1]].as_mut_ptr(),
                [nulls[column - 1]].as_mut_ptr(),
                &raw mut (*new).t_self,
                relation,
                check,
                false,
                info,
            );
            pg_sys::index_close(index, pg_sys::NoLock as _);
        }
        pg_sys::list_free(indexes);
    }
}

unsafe fn deform(tuple: pg_sys::HeapTuple, shape: pg_sys::TupleDesc) -> (Vec<pg_sys::Datum>, Vec<bool>) {
    // SAFETY: arrays as wide as the shape.
    unsafe {
        let width = (*shape).natts as usize;
        let (mut values, mut nulls) = (vec![pg_sys::Datum::null(); width], vec![true; width]);
        pg_sys::heap_deform_tuple(tuple, shape, values.as_mut_ptr(), nulls.as_mut_ptr());
        (values, nulls)
    }
}

unsafe fn begin_scan(relation: pg_sys::Relation, index: pg_sys::Relation) -> pg_sys::IndexScanDesc {
    // SAFETY: open relations, and an active snapshot.
    unsafe {
        let snapshot = pg_sys::GetActiveSnapshot();
        #[cfg(not(feature = "pg18"))]
        return pg_sys::index_beginscan(relation, index, snapshot, 1, 0);
        #[cfg(feature = "pg18")]
        return pg_sys::index_beginscan(relation, index, snapshot, std::ptr::null_mut(), 1, 0);
    }
}

/// Fetches the version at `tuple.t_self` if the snapshot sees it; then its page is pinned in `buffer`.
unsafe fn fetch(
    relation: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    tuple: &mut pg_sys::HeapTupleData,
    buffer: &mut pg_sys::Buffer,
) -> bool {
    // SAFETY: an open relation, and a page that it has.
    unsafe {
        #[cfg(feature = "pg14")]
        return pg_sys::heap_fetch(relation, snapshot, tuple, buffer);
        #[cfg(not(feature = "pg14"))]
        return pg_sys::heap_fetch(relation, snapshot, tuple, buffer, false);
    }
}

/// True if the row was changed; false if this transaction has changed it before.
unsafe fn heap_update(relation: pg_sys::Relation, old: pg_sys::HeapTuple, new: pg_sys::HeapTuple) -> bool {
    let mut failure = pg_sys::TM_FailureData::default();
    let mut mode = pg_sys::LockTupleMode::LockTupleNoKeyExclusive;
    // SAFETY: a row that this transaction has locked.
    let result = unsafe {
        // Its handler may have changed it: then this is not the latest version.
        let mut latest = pg_sys::HeapTupleData { t_self: (*old).t_self, ..Default::default() };
        let mut buffer = pg_sys::InvalidBuffer as pg_sys::Buffer;
        if !fetch(relation, &raw mut pg_sys::SnapshotSelfData, &mut latest, &mut buffer) {
            return false;
        }
        pg_sys::ReleaseBuffer(buffer);
        let command = pg_sys::GetCurrentCommandId(true);
        let none = std::ptr::null_mut();
        let old = &raw mut (*old).t_self;
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        let result = pg_sys::heap_update(relation, old, new, command, none, true, &mut failure, &mut mode);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        let result = {
            let mut indexes = pg_sys::TU_UpdateIndexes::TU_None;
            pg_sys::heap_update(
                relation,
                old,
                new,
                command,
                none,
                true,
                &mut failure,
                &mut mode,
                &mut indexes,
            )
        };
        result
    };
    result == pg_sys::TM_Result::TM_Ok
}

unsafe fn is_heap_only(tuple: pg_sys::HeapTuple) -> bool {
    // SAFETY: a tuple that heap_update has written.
    unsafe { u32::from((*(*tuple).t_data).t_infomask2) & pg_sys::HEAP_ONLY_TUPLE != 0 }
}
