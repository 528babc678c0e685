//! PostgreSQL 18 instruments index scans, has renamed a function, and keeps the columns of a row type elsewhere.

use pgrx::pg_sys;

#[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
pub use pg_sys::pqsignal;
#[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
pub use pg_sys::pqsignal_be as pqsignal;

/// Begins a scan with this number of keys.
///
/// # Safety
/// Open relations, and a snapshot that lives as long as the scan.
pub(in crate::pg) unsafe fn begin_index_scan(
    relation: pg_sys::Relation,
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    keys: i32,
) -> pg_sys::IndexScanDesc {
    // SAFETY: as the caller promises.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        return pg_sys::index_beginscan(relation, index, snapshot, keys, 0);
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        return pg_sys::index_beginscan(relation, index, snapshot, std::ptr::null_mut(), keys, 0);
    }
}

/// Begins a scan with this number of keys, whose entries are put into a bitmap.
///
/// # Safety
/// An open index, and a snapshot that lives as long as the scan.
pub(in crate::pg) unsafe fn begin_bitmap_scan(
    index: pg_sys::Relation,
    snapshot: pg_sys::Snapshot,
    keys: i32,
) -> pg_sys::IndexScanDesc {
    // SAFETY: as the caller promises.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        return pg_sys::index_beginscan_bitmap(index, snapshot, keys);
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        return pg_sys::index_beginscan_bitmap(index, snapshot, std::ptr::null_mut(), keys);
    }
}

/// Visits the pages of a bitmap in their order, with the numbers of the lines; `None`: any line, since the bitmap has no
/// memory for them.
///
/// # Safety
/// A bitmap, to which nothing is added meanwhile.
#[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
pub(in crate::pg) unsafe fn each_page(
    bitmap: *mut pg_sys::TIDBitmap,
    mut visit: impl FnMut(u32, Option<&[u16]>),
) {
    // SAFETY: a page is valid until the next one is asked for.
    unsafe {
        let pages = pg_sys::tbm_begin_iterate(bitmap);
        while let Some(page) = pg_sys::tbm_iterate(pages).as_ref() {
            let lines = usize::try_from(page.ntuples).ok().map(|count| page.offsets.as_slice(count));
            visit(page.blockno, lines);
        }
        pg_sys::tbm_end_iterate(pages);
    }
}

/// As for earlier versions.
///
/// # Safety
/// A bitmap, to which nothing is added meanwhile.
#[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
pub(in crate::pg) unsafe fn each_page(
    bitmap: *mut pg_sys::TIDBitmap,
    mut visit: impl FnMut(u32, Option<&[u16]>),
) {
    // A page has no more lines than pointers to them would fill it.
    const MOST: usize = pg_sys::BLCKSZ as usize / size_of::<pg_sys::ItemIdData>();
    let (mut lines, mut page) = ([0; MOST], pg_sys::TBMIterateResult::default());
    // SAFETY: a page is valid until the next one is asked for.
    unsafe {
        let pages = pg_sys::tbm_begin_private_iterate(bitmap);
        while pg_sys::tbm_private_iterate(pages, &mut page) {
            if page.lossy {
                visit(page.blockno, None);
            } else {
                let count = pg_sys::tbm_extract_page_tuple(&mut page, lines.as_mut_ptr(), MOST as u32);
                visit(page.blockno, Some(&lines[..count as usize]));
            }
        }
        pg_sys::tbm_end_private_iterate(pages);
    }
}

/// A column of a row type, by its number from 0.
///
/// # Safety
/// A row type with this column.
pub(in crate::pg) unsafe fn attribute(
    shape: pg_sys::TupleDesc,
    number: i32,
) -> *const pg_sys::FormData_pg_attribute {
    // SAFETY: as the caller promises.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        return (*shape).attrs.as_ptr().add(number as usize);
        #[cfg(not(any(feature = "pg15", feature = "pg16", feature = "pg17")))]
        return pg_sys::TupleDescAttr(shape, number);
    }
}
