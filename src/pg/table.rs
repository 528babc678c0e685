//! Rows of the extension's tables that are found by their key, locked and changed without the executor, at a fraction
//! of the cost of a statement.
//!
//! This is possible only while it is certain that a statement would do nothing else (see [`Shape`]). Triggers, rules,
//! constraints and indexes that users have added are left to the executor.

mod insert;
pub mod order;

use super::heap;
use super::majors::since_18;
use super::shape::{Column, Layout, Numbers, Shape};
use pg_errand_queue::Address;
use pgrx::itemptr::item_pointer_set_all;
use pgrx::pg_sys;

/// A table whose primary key is one bigint column.
#[derive(Clone, Copy)]
pub struct Table {
    pub oid: pg_sys::Oid,
    /// The extension's owner.
    pub owner: pg_sys::Oid,
    pub shape: &'static Shape,
}

/// The result of an attempt to lock a row.
pub enum Lock {
    Locked(Row),
    /// There is no such row, another transaction has locked it, or it does not meet the condition.
    Not,
    /// A statement has to be used, since it would do more than lock the row.
    ByStatement,
}

/// A copy of a row that this transaction has locked. It lives as long as the transaction.
pub struct Row {
    table: Table,
    /// The file of the table when the row was locked. If the table has another file now, the row has another address.
    file: pg_sys::Oid,
    tuple: pg_sys::HeapTuple,
    numbers: Numbers,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

/// The version of a row that was found on its page.
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

    /// Changes columns that are in no key, and removes the row from all partial indexes. Returns false, without a
    /// change, if a statement has to be used: because it would do more, or because a handler has changed the row or has
    /// altered, rewritten or truncated the table since the row was locked.
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
        // SAFETY: within the transaction that locked the row; arrays as wide as the table, which no other session can
        // alter meanwhile.
        unsafe {
            let relation = heap::open(self.table.oid);
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
            let done = heap::update(relation, self.tuple, new);
            if done && !heap::is_heap_only(new) {
                let key = self.values[self.numbers.index(Column::KEY)];
                heap::insert_key_entry(relation, layout.key_index, key, new);
            }
            pg_sys::relation_close(relation, pg_sys::NoLock as _);
            if done {
                pg_sys::CommandCounterIncrement();
            }
            done
        }
    }
}

impl Table {
    /// The layout of the table; `None` if statements have to be used. Called before each change, while the table is
    /// locked for writing, since all changes that others have made to the table are known by then.
    fn layout(&self) -> Option<Layout> {
        self.shape.layout(self.oid, self.owner)
    }

    /// True if a statement would only write the row. Called in a transaction that has written to the table.
    pub fn is_plain(&self) -> bool {
        self.layout().is_some()
    }

    /// Takes the lock that later changes in this transaction need. Taking it only after reading could deadlock with
    /// REINDEX, which locks the table and its indexes.
    pub fn lock_for_writing(&self) {
        // SAFETY: within a transaction; the lock is kept to its end.
        unsafe { pg_sys::relation_close(heap::open(self.oid), pg_sys::NoLock as _) }
    }

    /// Locks the row with this key if it meets the condition `wanted` and no other transaction has locked it. `address`
    /// is where the row was seen last.
    pub fn lock(&self, id: i64, address: Option<Address>, wanted: impl Fn(&Seen) -> bool) -> Lock {
        // SAFETY: within a transaction; what is opened is closed, by the transaction's abort if
        // something raises.
        unsafe {
            let relation = heap::open(self.oid);
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

    /// Tries the address, which saves the index scan.
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
            item_pointer_set_all(&mut tuple.t_self, address.page, address.line.get());
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            let snapshot = pg_sys::GetActiveSnapshot();
            let found = heap::fetch(relation, snapshot, &mut tuple, &mut buffer);
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
            // The address may belong to another row by now.
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
            let scan = since_18::begin_index_scan(relation, index, pg_sys::GetActiveSnapshot(), 1);
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

    /// Locks `found`, a version of the row on a pinned page.
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
            let (values, nulls) = heap::deform(found, shape);
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
                    let (values, nulls) = heap::deform(copy, shape);
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

enum Try {
    Locked(Row),
    Not,
    /// The row has to be looked up, possibly again.
    Moved,
}
