//! Primitives for the rows of a table and their index entries, below the executor.

use super::majors::since_16;
use pg_errand_queue::Address;
use pgrx::pg_sys;
use std::num::NonZeroU16;

/// A btree index does not use it (access/nbtree/nbtree.c, btinsert).
const NO_INDEX_INFO: *mut pg_sys::IndexInfo = std::ptr::null_mut();

/// The address at which a row was found; `None` if it has none.
pub(super) fn address(place: &pg_sys::ItemPointerData) -> Option<Address> {
    let page = u32::from(place.ip_blkid.bi_hi) << 16 | u32::from(place.ip_blkid.bi_lo);
    Some(Address { page, line: NonZeroU16::new(place.ip_posid)? })
}

/// Opens a table to change it. The `lock_timeout` that the role may have for its handlers does not apply.
///
/// # Safety
/// Within a transaction; the relation is closed with `NoLock`.
pub(super) unsafe fn open(table: pg_sys::Oid) -> pg_sys::Relation {
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

/// Inserts an entry into the index of the primary key, a btree. That the key is unique need not be checked again, which would
/// read the old row while the index page is locked: the key is that of the old row, which is locked, so a transaction
/// that inserts the same key finds the old row and waits for this transaction.
///
/// # Safety
/// An open relation, the index of its primary key, and a row of it that was just written with an unchanged key.
pub(super) unsafe fn insert_key_entry(
    relation: pg_sys::Relation,
    index: pg_sys::Oid,
    key: pg_sys::Datum,
    new: pg_sys::HeapTuple,
) {
    // SAFETY: as ExecInsertIndexTuples does it for an unchanged key of an index that is not unique.
    unsafe {
        let index = pg_sys::index_open(index, pg_sys::RowExclusiveLock as _);
        pg_sys::index_insert(
            index,
            [key].as_mut_ptr(),
            [false].as_mut_ptr(),
            &raw mut (*new).t_self,
            relation,
            pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO,
            true,
            NO_INDEX_INFO,
        );
        pg_sys::index_close(index, pg_sys::NoLock as _);
    }
}

/// Inserts an entry into each of these btree indexes, as ExecInsertIndexTuples does. None has expressions.
///
/// # Safety
/// An open relation, a row of it that was just inserted, the values of its columns, and indexes of it.
pub(super) unsafe fn insert_entries(
    relation: pg_sys::Relation,
    new: pg_sys::HeapTuple,
    values: &[pg_sys::Datum],
    nulls: &[bool],
    indexes: impl Iterator<Item = pg_sys::Oid>,
) {
    // SAFETY: as the caller promises.
    unsafe {
        for oid in indexes {
            let index = pg_sys::index_open(oid, pg_sys::RowExclusiveLock as _);
            let form = (*index).rd_index;
            let columns = (*form).indkey.values.as_slice((*form).indnatts as usize);
            let of = |column: &i16| *column as usize - 1;
            let mut keys: Vec<_> = columns.iter().map(|column| values[of(column)]).collect();
            let mut are_null: Vec<_> = columns.iter().map(|column| nulls[of(column)]).collect();
            let check = if (*form).indisunique {
                pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES
            } else {
                pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO
            };
            pg_sys::index_insert(
                index,
                keys.as_mut_ptr(),
                are_null.as_mut_ptr(),
                &raw mut (*new).t_self,
                relation,
                check,
                false,
                NO_INDEX_INFO,
            );
            pg_sys::index_close(index, pg_sys::NoLock as _);
        }
    }
}

/// The values of all columns, and whether they are null.
///
/// # Safety
/// A tuple of this shape.
pub(super) unsafe fn deform(
    tuple: pg_sys::HeapTuple,
    shape: pg_sys::TupleDesc,
) -> (Vec<pg_sys::Datum>, Vec<bool>) {
    // SAFETY: arrays as wide as the shape.
    unsafe {
        let width = (*shape).natts as usize;
        let (mut values, mut nulls) = (vec![pg_sys::Datum::null(); width], vec![true; width]);
        pg_sys::heap_deform_tuple(tuple, shape, values.as_mut_ptr(), nulls.as_mut_ptr());
        (values, nulls)
    }
}

/// Fetches the version at `tuple.t_self` and pins its page in `buffer`; false if the snapshot does not see it.
///
/// # Safety
/// An open relation, and a page that it has.
pub(super) unsafe fn fetch(
    relation: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    tuple: &mut pg_sys::HeapTupleData,
    buffer: &mut pg_sys::Buffer,
) -> bool {
    // SAFETY: as the caller promises.
    unsafe { pg_sys::heap_fetch(relation, snapshot, tuple, buffer, false) }
}

/// Writes the new version of a row; false if this transaction has changed the row since it locked it.
///
/// # Safety
/// An open relation, and a row of it that this transaction has locked.
pub(super) unsafe fn update(
    relation: pg_sys::Relation,
    old: pg_sys::HeapTuple,
    new: pg_sys::HeapTuple,
) -> bool {
    let mut failure = pg_sys::TM_FailureData::default();
    let mut mode = pg_sys::LockTupleMode::LockTupleNoKeyExclusive;
    // SAFETY: a row that this transaction has locked.
    let result = unsafe {
        // A handler may have changed the row; then `old` is not the latest version.
        let mut latest = pg_sys::HeapTupleData { t_self: (*old).t_self, ..Default::default() };
        let mut buffer = pg_sys::InvalidBuffer as pg_sys::Buffer;
        if !fetch(relation, &raw mut pg_sys::SnapshotSelfData, &mut latest, &mut buffer) {
            return false;
        }
        pg_sys::ReleaseBuffer(buffer);
        since_16::heap_update(relation, &raw mut (*old).t_self, new, &mut failure, &mut mode)
    };
    result == pg_sys::TM_Result::TM_Ok
}

/// True if the new version has no index entries of its own.
///
/// # Safety
/// A tuple that `heap_update` has written.
pub(super) unsafe fn is_heap_only(tuple: pg_sys::HeapTuple) -> bool {
    // SAFETY: a tuple that heap_update has written.
    unsafe { u32::from((*(*tuple).t_data).t_infomask2) & pg_sys::HEAP_ONLY_TUPLE != 0 }
}
