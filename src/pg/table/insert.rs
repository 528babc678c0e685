//! Inserts rows without the executor.

use super::Table;
use crate::pg::heap;
use crate::pg::shape::{Column, Layout};
use pgrx::pg_sys;

impl Table {
    /// Inserts a row into the table and its indexes. Columns that are not in `row` are null. Returns false, without a
    /// change, if a statement has to be used.
    pub fn insert(&self, row: &[(Column, Option<pg_sys::Datum>)]) -> bool {
        // SAFETY: within a transaction.
        unsafe {
            let relation = heap::open(self.oid);
            let layout = self.layout();
            if let Some(layout) = &layout {
                insert_into(relation, layout, row);
            }
            pg_sys::relation_close(relation, pg_sys::NoLock as _);
            layout.is_some()
        }
    }

    /// True if [`Table::insert_next`] can insert rows, as far as is known before it is called.
    pub fn may_insert(&self) -> bool {
        // SAFETY: within a transaction; the lock is kept to its end.
        unsafe {
            let relation = pg_sys::table_open(self.oid, pg_sys::RowExclusiveLock as _);
            pg_sys::relation_close(relation, pg_sys::NoLock as _);
        }
        self.layout().is_some_and(|layout| layout.sequence != 0)
    }

    /// Inserts a row with the next number of the key's sequence, as [`Table::insert`] does, for a session: its
    /// `lock_timeout` and read-only transactions are heeded. `row` is given the number. Returns `None`, without a change,
    /// if a statement has to be used.
    pub fn insert_next<const N: usize>(
        &self,
        row: impl FnOnce(i64) -> [(Column, Option<pg_sys::Datum>); N],
    ) -> Option<i64> {
        // SAFETY: within a transaction; the name is a constant; the sequence is that of the table, which is locked.
        unsafe {
            pg_sys::PreventCommandIfReadOnly(c"INSERT".as_ptr());
            pg_sys::PreventCommandIfParallelMode(c"INSERT".as_ptr());
            let relation = pg_sys::table_open(self.oid, pg_sys::RowExclusiveLock as _);
            let number = self.layout().filter(|layout| layout.sequence != 0).map(|layout| {
                let sequence = pg_sys::Oid::from_u32(layout.sequence);
                // As for an identity column, no privilege on the sequence is needed.
                let number = pg_sys::ffi::pg_guard_ffi_boundary(|| nextval_internal(sequence, false));
                insert_into(relation, &layout, &row(number));
                number
            });
            pg_sys::relation_close(relation, pg_sys::NoLock as _);
            number
        }
    }
}

unsafe extern "C-unwind" {
    // commands/sequence.h, not among pgrx's bindings
    fn nextval_internal(sequence: pg_sys::Oid, check_permissions: bool) -> i64;
}

/// Inserts a row into an open table and its indexes.
///
/// # Safety
/// Within a transaction; a table that was opened for writing, and its layout.
unsafe fn insert_into(relation: pg_sys::Relation, layout: &Layout, row: &[(Column, Option<pg_sys::Datum>)]) {
    // SAFETY: arrays as wide as the table.
    unsafe {
        let width = (*(*relation).rd_att).natts as usize;
        let (mut values, mut nulls) = (vec![pg_sys::Datum::null(); width], vec![true; width]);
        for (column, value) in row {
            let index = layout.numbers.index(*column);
            values[index] = value.unwrap_or(pg_sys::Datum::null());
            nulls[index] = value.is_none();
        }
        let tuple = pg_sys::heap_form_tuple((*relation).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
        pg_sys::simple_heap_insert(relation, tuple);
        let entries = layout.entries.iter().take_while(|index| **index != 0);
        heap::insert_entries(
            relation,
            tuple,
            &values,
            &nulls,
            entries.map(|index| pg_sys::Oid::from_u32(*index)),
        );
        // A batch inserts many rows in one memory context.
        pg_sys::heap_freetuple(tuple);
        pg_sys::CommandCounterIncrement();
    }
}
