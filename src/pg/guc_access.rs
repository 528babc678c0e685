//! Access to all settings of this process, not only the extension's own.

use super::guc_check::text_of;
use super::majors::since_16;
use pgrx::pg_sys;
use std::ffi::{CStr, CString};
use std::os::raw::c_char;

/// The value of a setting; `None` if there is no such setting.
pub fn value(name: &str) -> Option<String> {
    let name = CString::new(name).ok()?;
    // SAFETY: a string that lives until the next change, copied at once.
    unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        (!value.is_null()).then(|| text_of(value))
    }
}

/// The record of a setting; `None` if there is no such setting.
///
/// # Safety
/// Main thread; used before the next record is asked for.
pub(super) unsafe fn record<'a>(name: &CStr) -> Option<&'a mut pg_sys::config_generic> {
    // SAFETY: the records are this process's own, and live as long as it.
    unsafe { since_16::setting(name).as_mut() }
}

/// A text as a boolean, as PostgreSQL reads it; `None` if it is none.
pub fn boolean(text: &str) -> Option<bool> {
    let text = CString::new(text).ok()?;
    let mut value = false;
    // SAFETY: reads the text and writes the value.
    unsafe { pg_sys::parse_bool(text.as_ptr(), &mut value) }.then_some(value)
}

/// The value of `default_transaction_read_only`. In a process that has not changed it, that is the configured value.
pub fn is_read_only() -> bool {
    // SAFETY: a plain setting.
    unsafe { pg_sys::DefaultXactReadOnly }
}

/// Prevents all statements of this process from changing the setting: SET, set_config() and the SET clauses of
/// functions.
pub fn fix(name: &CStr) {
    // SAFETY: main thread. The context determines who may change the setting; values that are restored at the end of a
    // transaction are not subject to it (guc.c).
    if let Some(record) = unsafe { record(name) } {
        record.context = pg_sys::GucContext::PGC_INTERNAL;
    }
}

/// Refuses unknown settings with this prefix.
pub fn reserve_prefix(prefix: &CStr) {
    // SAFETY: copied.
    unsafe {
        pg_sys::MarkGUCPrefixReserved(prefix.as_ptr());
    }
}

/// The elements of a comma-separated list of identifiers; `None` if the text is not such a list.
pub fn split_list(list: &str) -> Option<Vec<String>> {
    let text = CString::new(list).ok()?;
    // SAFETY: SplitIdentifierString changes its (copied) argument; the list's cells point into it.
    unsafe {
        let raw = pg_sys::pstrdup(text.as_ptr());
        let mut names = std::ptr::null_mut();
        if !pg_sys::SplitIdentifierString(raw, b',' as c_char, &mut names) {
            return None;
        }
        let length = if names.is_null() { 0 } else { (*names).length };
        Some((0..length).map(|i| text_of(pg_sys::list_nth(names, i).cast())).collect())
    }
}
