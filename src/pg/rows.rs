//! Rows of a table that are read in the snapshot of the query without the executor: to count a hundred thousand takes a
//! fraction of its time.

mod columns;
mod found;

use super::interrupt;
use columns::Columns;
use pgrx::{FromDatum, pg_sys, varlena};
use std::borrow::Cow;
use std::ffi::CStr;

/// A row. It is valid until the next one is read.
pub struct Row<'a> {
    values: &'a [pg_sys::Datum],
    nulls: &'a [bool],
}

impl<'a> Row<'a> {
    /// The value of a column, by its place in the list of columns; `None` for null. The type has to be that of the column;
    /// a time is an `i64`, microseconds since 2000-01-01.
    pub fn get<T: FromDatum>(&self, place: usize) -> Option<T> {
        // SAFETY: the caller names the column's type.
        unsafe { T::from_datum(self.values[place], self.nulls[place]) }
    }

    pub fn is_null(&self, place: usize) -> bool {
        self.nulls[place]
    }

    /// The text of a column.
    pub fn text(&self, place: usize) -> Option<Cow<'a, str>> {
        if self.nulls[place] {
            return None;
        }
        let value = self.values[place].cast_mut_ptr::<pg_sys::varlena>();
        // SAFETY: the column is a text, in the encoding UTF8, and the value is part of the row, or of a copy of it. Of one that
        // is compressed or stored elsewhere, a copy is made and freed.
        unsafe {
            let is_plain = varlena::varatt_is_4b_u(value)
                || varlena::varatt_is_1b(value) && !varlena::varatt_is_1b_e(value);
            if is_plain {
                return Some(Cow::Borrowed(varlena::text_to_rust_str_unchecked(value)));
            }
            let copy = pg_sys::pg_detoast_datum_packed(value);
            let text = varlena::text_to_rust_str_unchecked(copy).to_owned();
            pg_sys::pfree(copy.cast());
            Some(Cow::Owned(text))
        }
    }
}

/// Which rows are read. Where an index does not help, the whole table is, so the reader checks the conditions itself.
pub enum Which<'a> {
    /// Those that are in these indexes, or all if there are none. Each row is in one of them at most.
    In(&'a [pg_sys::Oid]),
    /// Those whose time in this index is later than this.
    After(Option<pg_sys::Oid>, i64),
}

/// Reads rows of a table, in no certain order. False, without a row, if the table has not all these columns.
pub fn read<const N: usize>(
    table: pg_sys::Oid,
    which: &Which,
    columns: [&CStr; N],
    mut row: impl FnMut(&Row),
) -> bool {
    // SAFETY: within a query, which has a snapshot; what is opened is closed, by the transaction's abort if something
    // raises.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as _);
        let found = Columns::of(relation, columns);
        if let Some(columns) = &found {
            let (mut values, mut nulls) = ([pg_sys::Datum::null(); N], [true; N]);
            let mut each = |tuple: &pg_sys::HeapTupleData| {
                columns.read(tuple, &mut values, &mut nulls);
                row(&Row { values: &values, nulls: &nulls });
            };
            let is_heap = (*(*relation).rd_rel).relam == pg_sys::HEAP_TABLE_AM_OID;
            match which {
                Which::In(indexes) if is_heap && !indexes.is_empty() => {
                    found::each(relation, indexes, None, &mut each);
                }
                Which::After(Some(index), time) if is_heap => {
                    found::each(relation, &[*index], Some(*time), &mut each);
                }
                _ => each_of_all(relation, &mut each),
            }
        }
        pg_sys::table_close(relation, pg_sys::AccessShareLock as _);
        found.is_some()
    }
}

/// Reads the whole table.
///
/// # Safety
/// An open table; within a query.
unsafe fn each_of_all(relation: pg_sys::Relation, each: &mut impl FnMut(&pg_sys::HeapTupleData)) {
    // SAFETY: as the caller promises.
    unsafe {
        let snapshot = pg_sys::GetActiveSnapshot();
        let none = std::ptr::null_mut();
        let scan = pg_sys::systable_beginscan(relation, pg_sys::Oid::INVALID, false, snapshot, 0, none);
        loop {
            interrupt::check();
            match pg_sys::systable_getnext(scan).as_ref() {
                Some(tuple) => each(tuple),
                None => break,
            }
        }
        pg_sys::systable_endscan(scan);
    }
}
