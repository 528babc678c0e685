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

/// Reads the rows of a heap that are in btree indexes and in the snapshot of the query; with a time, those whose first key is
/// later. A page that several indexes name is read once.
///
/// # Safety
/// An open heap and indexes of it, of which at most one has each row; within a query.
pub(super) unsafe fn each(
    relation: pg_sys::Relation,
    indexes: &[pg_sys::Oid],
    after: Option<i64>,
    each: &mut impl FnMut(&pg_sys::HeapTupleData),
) {
    // SAFETY: as the caller promises.
    unsafe {
        let mut pages = Pages::of(relation);
        for index in indexes {
            let mut scan = Scan::begin(relation, *index, after);
            while scan.fill(&mut pages.addresses) {
                pages.read(each);
            }
            scan.end();
        }
        pages.read(each);
    }
}

/// A scan of an index for the addresses of rows.
struct Scan {
    index: pg_sys::Relation,
    scan: pg_sys::IndexScanDesc,
    /// It stays where it is as long as the scan.
    _key: Option<Box<pg_sys::ScanKeyData>>,
}

impl Scan {
    unsafe fn begin(relation: pg_sys::Relation, index: pg_sys::Oid, after: Option<i64>) -> Scan {
        let mut key = after.map(later_than).map(Box::new);
        // SAFETY: the index is open as long as its scan.
        unsafe {
            let index = pg_sys::index_open(index, pg_sys::AccessShareLock as _);
            let keys = i32::from(key.is_some());
            let scan = since_18::begin_index_scan(relation, index, pg_sys::GetActiveSnapshot(), keys);
            let first = key.as_mut().map_or(std::ptr::null_mut(), |key| &raw mut **key);
            pg_sys::index_rescan(scan, first, keys, std::ptr::null_mut(), 0);
            Scan { index, scan, _key: key }
        }
    }

    /// Adds addresses until there are [`CHUNK`]. False at the end of the index; a scan that has reached its end would begin
    /// again.
    unsafe fn fill(&mut self, addresses: &mut Vec<u64>) -> bool {
        while addresses.len() < CHUNK {
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            // SAFETY: the scan is open; the address is valid until the next call.
            let Some(place) = (unsafe { pg_sys::index_getnext_tid(self.scan, forward).as_ref() }) else {
                return false;
            };
            addresses.extend(heap::address(place).map(pack));
        }
        true
    }

    unsafe fn end(self) {
        // SAFETY: both are open.
        unsafe {
            pg_sys::index_endscan(self.scan);
            pg_sys::index_close(self.index, pg_sys::AccessShareLock as _);
        }
    }
}

/// The rows that are to be read, and memory for those of a page.
struct Pages {
    relation: pg_sys::Relation,
    visibility: Visibility,
    addresses: Vec<u64>,
    visible: Vec<Place>,
}

impl Pages {
    unsafe fn of(relation: pg_sys::Relation) -> Pages {
        // SAFETY: within a query.
        let visibility = unsafe { Visibility::now() };
        Pages { relation, visibility, addresses: Vec::new(), visible: Vec::new() }
    }

    /// Reads the rows at the addresses, in the order of pages, and forgets the addresses.
    unsafe fn read(&mut self, each: &mut impl FnMut(&pg_sys::HeapTupleData)) {
        let mut addresses = std::mem::take(&mut self.addresses);
        addresses.sort_unstable();
        for page in addresses.chunk_by(|one, other| page_of(*one) == page_of(*other)) {
            interrupt::check();
            // SAFETY: the relation is open.
            unsafe { self.read_page(page, each) };
        }
        addresses.clear();
        self.addresses = addresses;
    }

    /// Reads the rows at addresses of one page. An address may belong to another row by now, one that the snapshot does not
    /// see.
    unsafe fn read_page(&mut self, addresses: &[u64], each: &mut impl FnMut(&pg_sys::HeapTupleData)) {
        self.visible.clear();
        // SAFETY: a page of the heap; rows stay where they are while it is pinned.
        unsafe {
            let buffer = pg_sys::ReadBuffer(self.relation, page_of(addresses[0]));
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as _);
            let page = pg_sys::BufferGetPage(buffer);
            for address in addresses {
                let line = *address as u16;
                let row = match self.visibility.certain(page, line) {
                    Some(row) => Some(row),
                    None => self.search(buffer, page_of(*address), line),
                };
                self.visible.extend(row);
            }
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_UNLOCK as _);
            for (data, length) in &self.visible {
                each(&pg_sys::HeapTupleData { t_data: *data, t_len: *length, ..Default::default() });
            }
            pg_sys::ReleaseBuffer(buffer);
        }
    }

    /// The version of a row that the snapshot sees.
    unsafe fn search(&self, buffer: pg_sys::Buffer, page: u32, line: u16) -> Option<Place> {
        let mut place = pg_sys::ItemPointerData::default();
        item_pointer_set_all(&mut place, page, line);
        let mut tuple = pg_sys::HeapTupleData::default();
        let (snapshot, none) = (self.visibility.snapshot, std::ptr::null_mut());
        // SAFETY: the page is pinned and locked.
        unsafe {
            pg_sys::heap_hot_search_buffer(
                &mut place,
                self.relation,
                buffer,
                snapshot,
                &mut tuple,
                none,
                true,
            )
            .then_some((tuple.t_data, tuple.t_len))
        }
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
            let marks = u32::from((*row).t_infomask);
            let is_old = marks & pg_sys::HEAP_XMIN_FROZEN == pg_sys::HEAP_XMIN_FROZEN
                || marks & pg_sys::HEAP_XMIN_COMMITTED != 0
                    && precedes((*row).t_choice.t_heap.t_xmin, ended_before);
            (is_old && marks & pg_sys::HEAP_XMAX_INVALID != 0).then_some((row, item.lp_len()))
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

/// An address as a number, in the order of pages and lines.
fn pack(address: Address) -> u64 {
    u64::from(address.page) << 16 | u64::from(address.line.get())
}

const fn page_of(address: u64) -> u32 {
    (address >> 16) as u32
}
