//! Lists in the parse trees of commands.

use pgrx::pg_sys;
use std::ffi::CStr;
use std::os::raw::c_char;

/// The elements of a list of nodes of one type; none if the list is null.
///
/// # Safety
/// The list is null or holds nodes of the type `T`, and lives as long as the iterator.
pub(super) unsafe fn nodes<T>(list: *mut pg_sys::List) -> impl Iterator<Item = *mut T> {
    // SAFETY: on the caller's promise.
    let length = unsafe { if list.is_null() { 0 } else { (*list).length } };
    // SAFETY: on the caller's promise.
    (0..length).map(move |i| unsafe { pg_sys::list_nth(list, i).cast::<T>() })
}

/// The names in a list of String nodes, as DROP has it.
///
/// # Safety
/// The list is null or holds String nodes, and lives as long as the iterator.
pub(super) unsafe fn names(list: *mut pg_sys::List) -> impl Iterator<Item = *const c_char> {
    // SAFETY: on the caller's promise.
    unsafe { nodes::<pg_sys::String>(list).map(|node| (*node).sval.cast_const()) }
}

/// The option of this name.
///
/// # Safety
/// The list is null or holds DefElem nodes.
pub(super) unsafe fn option(list: *mut pg_sys::List, name: &CStr) -> Option<*mut pg_sys::DefElem> {
    // SAFETY: as the caller promises.
    unsafe { nodes(list).find(|element: &*mut pg_sys::DefElem| CStr::from_ptr((**element).defname) == name) }
}
