//! Rows that indexes have found, read page by page: an index scan would lock a page again for each of its rows.

use crate::pg::interrupt;
use crate::pg::majors::since_18;
use pgrx::itemptr::item_pointer_set_all;
use pgrx::pg_sys;

/// The memory for the addresses of rows, in bytes. If there are more, pages are read in full.
const MEMORY: i64 = 64 << 20;

/// A row on a page that is pinned.
type Place = (pg_sys::HeapTupleHeader, u32);

/// Reads the rows of a heap that are in btree indexes and in the snapshot of the query; with a time, those whose first key is
/// later. A page that several indexes name is read once. Where there are very many rows, others on the same pages are read, too.
///
/// # Safety
/// An open heap and indexes of it; within a query.
pub(super) unsafe fn each(
    relation: pg_sys::Relation,
    indexes: &[pg_sys::Oid],
    after: Option<i64>,
    each: &mut impl FnMut(&pg_sys::HeapTupleData),
) {
    // SAFETY: as the caller promises.
    unsafe {
        let bitmap = pg_sys::tbm_create(MEMORY as _, std::ptr::null_mut());
        for index in indexes {
            add_entries(bitmap, *index, after);
        }
        let mut pages = Pages::of(relation);
        since_18::each_page(bitmap, |page, lines| {
            interrupt::check();
            pages.read(page, lines, each);
        });
        pg_sys::tbm_free(bitmap);
    }
}

/// Adds the addresses of an index to a bitmap.
unsafe fn add_entries(bitmap: *mut pg_sys::TIDBitmap, index: pg_sys::Oid, after: Option<i64>) {
    let mut key = after.map(later_than);
    // SAFETY: the index is open as long as its scan, and the key stays where it is.
    unsafe {
        let index = pg_sys::index_open(index, pg_sys::AccessShareLock as _);
        let keys = i32::from(key.is_some());
        let scan = since_18::begin_bitmap_scan(index, pg_sys::GetActiveSnapshot(), keys);
        let key = key.as_mut().map_or(std::ptr::null_mut(), |key| &raw mut *key);
        pg_sys::index_rescan(scan, key, keys, std::ptr::null_mut(), 0);
        pg_sys::index_getbitmap(scan, bitmap);
        pg_sys::index_endscan(scan);
        pg_sys::index_close(index, pg_sys::AccessShareLock as _);
    }
}

/// What is needed to read the rows of a page.
struct Pages {
    relation: pg_sys::Relation,
    visibility: Visibility,
    /// Memory for the rows of a page.
    visible: Vec<Place>,
}

impl Pages {
    unsafe fn of(relation: pg_sys::Relation) -> Pages {
        // SAFETY: within a query.
        let visibility = unsafe { Visibility::now() };
        Pages { relation, visibility, visible: Vec::new() }
    }

    /// Reads the rows at these lines of a page, or at all. A line may belong to another row by now, one that the snapshot does
    /// not see.
    unsafe fn read(
        &mut self,
        number: u32,
        lines: Option<&[u16]>,
        each: &mut impl FnMut(&pg_sys::HeapTupleData),
    ) {
        self.visible.clear();
        // SAFETY: a page of the heap; rows stay where they are while it is pinned.
        unsafe {
            let buffer = pg_sys::ReadBuffer(self.relation, number);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as _);
            let page = pg_sys::BufferGetPage(buffer);
            let mut see = |line| {
                let certain = self.visibility.certain(page, line);
                let row = certain.or_else(|| search(self.relation, &self.visibility, buffer, number, line));
                self.visible.extend(row);
            };
            match lines {
                Some(lines) => lines.iter().copied().for_each(&mut see),
                None => (1..=pg_sys::PageGetMaxOffsetNumber(page)).for_each(&mut see),
            }
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_UNLOCK as _);
            for (data, length) in &self.visible {
                each(&pg_sys::HeapTupleData { t_data: *data, t_len: *length, ..Default::default() });
            }
            pg_sys::ReleaseBuffer(buffer);
        }
    }
}

/// The version of the row at a line that the snapshot sees.
unsafe fn search(
    relation: pg_sys::Relation,
    visibility: &Visibility,
    buffer: pg_sys::Buffer,
    page: u32,
    line: u16,
) -> Option<Place> {
    let mut place = pg_sys::ItemPointerData::default();
    item_pointer_set_all(&mut place, page, line);
    let mut tuple = pg_sys::HeapTupleData::default();
    let (snapshot, none) = (visibility.snapshot, std::ptr::null_mut());
    // SAFETY: the page is pinned and locked.
    unsafe {
        pg_sys::heap_hot_search_buffer(&mut place, relation, buffer, snapshot, &mut tuple, none, true)
            .then_some((tuple.t_data, tuple.t_len))
    }
}

/// Tells of most rows that the snapshot sees them, by their header alone. PostgreSQL's function is needed for all others.
struct Visibility {
    snapshot: pg_sys::Snapshot,
    /// Transactions before this one had ended when the snapshot was taken; `None` if headers alone must not be judged.
    ended_before: Option<pg_sys::TransactionId>,
}

impl Visibility {
    unsafe fn now() -> Visibility {
        // SAFETY: within a query, which has a snapshot.
        unsafe {
            let snapshot = pg_sys::GetActiveSnapshot();
            // A serializable transaction has to note what it reads.
            let is_plain = (*snapshot).snapshot_type == pg_sys::SnapshotType::SNAPSHOT_MVCC
                && pg_sys::XactIsoLevel < pg_sys::XACT_SERIALIZABLE as i32;
            Visibility { snapshot, ended_before: is_plain.then_some((*snapshot).xmin) }
        }
    }

    /// The row at a line, if it is known to be committed before the snapshot, and neither updated nor deleted since
    /// (access/heap/heapam_visibility.c, HeapTupleSatisfiesMVCC).
    ///
    /// # Safety
    /// A page that is pinned and locked.
    unsafe fn certain(&self, page: pg_sys::Page, line: u16) -> Option<Place> {
        let ended_before = self.ended_before?;
        // SAFETY: lines up to the last one of the page exist, and a normal one points to a row.
        unsafe {
            if line == 0 || line > pg_sys::PageGetMaxOffsetNumber(page) {
                return None;
            }
            let item = &*pg_sys::PageGetItemId(page, line);
            if item.lp_flags() != pg_sys::LP_NORMAL {
                return None;
            }
            let row = page.add(item.lp_off() as usize).cast::<pg_sys::HeapTupleHeaderData>();
            // Such a version is found by way of the first one.
            let is_first = u32::from((*row).t_infomask2) & pg_sys::HEAP_ONLY_TUPLE == 0;
            let marks = u32::from((*row).t_infomask);
            let is_old = marks & pg_sys::HEAP_XMIN_FROZEN == pg_sys::HEAP_XMIN_FROZEN
                || marks & pg_sys::HEAP_XMIN_COMMITTED != 0
                    && precedes((*row).t_choice.t_heap.t_xmin, ended_before);
            (is_first && is_old && marks & pg_sys::HEAP_XMAX_INVALID != 0).then_some((row, item.lp_len()))
        }
    }
}

/// Whether a transaction began before another one (access/transam/transam.c, TransactionIdPrecedes). False for the special
/// ones.
fn precedes(one: pg_sys::TransactionId, other: pg_sys::TransactionId) -> bool {
    let difference = one.into_inner().wrapping_sub(other.into_inner()).cast_signed();
    pg_sys::TransactionIdIsNormal(one) && pg_sys::TransactionIdIsNormal(other) && difference < 0
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
