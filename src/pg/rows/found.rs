//! Rows that an index has found, read page by page: an index scan would lock a page again for each of its rows.

use crate::pg::majors::since_18;
use crate::pg::{heap, interrupt};
use pg_errand_queue::Address;
use pgrx::itemptr::item_pointer_set_all;
use pgrx::pg_sys;

/// The number of rows that are sorted by their address at a time.
const CHUNK: usize = 1 << 17;

/// A row on a page that is pinned.
type Place = (pg_sys::HeapTupleHeader, u32);

/// Reads the rows of a heap that are in a btree index and in the snapshot of the query; with a time, those whose first key
/// is later.
///
/// # Safety
/// An open heap and an index of it; within a query.
pub(super) unsafe fn each(
    relation: pg_sys::Relation,
    index: pg_sys::Oid,
    after: Option<i64>,
    each: &mut impl FnMut(&pg_sys::HeapTupleData),
) {
    let mut key = after.map(later_than);
    let (mut addresses, mut visible) = (Vec::<u64>::new(), Vec::<Place>::new());
    // SAFETY: the index is open as long as its scan.
    unsafe {
        let index = pg_sys::index_open(index, pg_sys::AccessShareLock as _);
        let keys = i32::from(key.is_some());
        let snapshot = pg_sys::GetActiveSnapshot();
        let scan = since_18::begin_index_scan(relation, index, snapshot, keys);
        let key = key.as_mut().map_or(std::ptr::null_mut(), |key| &raw mut *key);
        pg_sys::index_rescan(scan, key, keys, std::ptr::null_mut(), 0);
        loop {
            addresses.clear();
            while addresses.len() < CHUNK
                && let Some(place) =
                    pg_sys::index_getnext_tid(scan, pg_sys::ScanDirection::ForwardScanDirection).as_ref()
            {
                addresses.extend(heap::address(place).map(pack));
            }
            addresses.sort_unstable();
            for page in addresses.chunk_by(|one, other| page_of(*one) == page_of(*other)) {
                interrupt::check();
                each_of_page(relation, snapshot, page, &mut visible, each);
            }
            // A scan that has reached its end would begin again.
            if addresses.len() < CHUNK {
                break;
            }
        }
        pg_sys::index_endscan(scan);
        pg_sys::index_close(index, pg_sys::AccessShareLock as _);
    }
}

/// Reads the rows at addresses of one page; `visible` is memory for them. An address may belong to another row by now, one
/// that the snapshot does not see.
unsafe fn each_of_page(
    relation: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    addresses: &[u64],
    visible: &mut Vec<Place>,
    each: &mut impl FnMut(&pg_sys::HeapTupleData),
) {
    visible.clear();
    // SAFETY: a page of the heap; rows stay where they are while it is pinned.
    unsafe {
        let buffer = pg_sys::ReadBuffer(relation, page_of(addresses[0]));
        pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as _);
        for address in addresses {
            let mut place = pg_sys::ItemPointerData::default();
            item_pointer_set_all(&mut place, page_of(*address), *address as u16);
            let mut tuple = pg_sys::HeapTupleData::default();
            let none = std::ptr::null_mut();
            if pg_sys::heap_hot_search_buffer(&mut place, relation, buffer, snapshot, &mut tuple, none, true)
            {
                visible.push((tuple.t_data, tuple.t_len));
            }
        }
        pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_UNLOCK as _);
        for (data, length) in &*visible {
            each(&pg_sys::HeapTupleData { t_data: *data, t_len: *length, ..Default::default() });
        }
        pg_sys::ReleaseBuffer(buffer);
    }
}

/// The condition that the first key, a time, is later than this one.
fn later_than(time: i64) -> pg_sys::ScanKeyData {
    let mut key = pg_sys::ScanKeyData::default();
    let later = pg_sys::BTGreaterStrategyNumber as u16;
    // SAFETY: fills in the key, for the comparison of two times.
    unsafe {
        pg_sys::ScanKeyInit(
            &mut key,
            1,
            later,
            pg_sys::Oid::from_u32(pg_sys::F_TIMESTAMPTZ_GT),
            pg_sys::Datum::from(time),
        );
    }
    key
}

/// An address as a number, in the order of pages and lines.
fn pack(address: Address) -> u64 {
    u64::from(address.page) << 16 | u64::from(address.line.get())
}

const fn page_of(address: u64) -> u32 {
    (address >> 16) as u32
}
