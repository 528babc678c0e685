//! What `pg_stat_activity` shows about this process.

use super::own;
use pgrx::pg_sys;
use std::cell::RefCell;
use std::ffi::CString;
use std::fmt::{self, Write};

thread_local! {
    /// A buffer that is reused, since it is written for every handler.
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Sets `application_name`.
pub fn name(text: &str) {
    let text = c_string(text);
    // SAFETY: copies the text; also through the GUC, so that `SHOW` agrees.
    unsafe {
        pg_sys::SetConfigOption(
            c"application_name".as_ptr(),
            text.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
        );
    }
}

/// Reports `active` with `text` as the query; `query_start` is now.
pub fn running(text: fmt::Arguments) {
    TEXT.with_borrow_mut(|buffer| {
        end_query();
        buffer.clear();
        let _ = write!(buffer, "{text}\0");
        to_server_encoding(buffer);
        // SAFETY: copies the text, up to the first NUL.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, buffer.as_ptr().cast());
        }
    });
    if own::is_own() {
        begin_query();
    }
}

/// Replaces all characters but ASCII in a database whose encoding is not UTF-8, where they might be invalid.
fn to_server_encoding(text: &mut String) {
    // SAFETY: state of this process.
    if !text.is_ascii() && unsafe { pg_sys::GetDatabaseEncoding() } != pg_sys::pg_enc::PG_UTF8 as i32 {
        *text = text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
    }
}

/// Lets `current_query()` and the log show the same text as the activity, since triggers that record who changes a row
/// expect a query.
fn begin_query() {
    TEXT.with_borrow(|text| {
        let query = if text.is_empty() { std::ptr::null() } else { text.as_ptr().cast() };
        // SAFETY: the text ends with a NUL; `end_query` comes before its next change.
        unsafe { pg_sys::debug_query_string = query }
    });
}

/// Shows the worker's own name as the query until it runs a handler.
pub(super) fn begin_own_query() {
    // SAFETY: the text is a constant.
    unsafe { pg_sys::debug_query_string = c"pg_errand worker".as_ptr() }
}

/// Shows no query.
pub(super) fn end_query() {
    // SAFETY: state of this process.
    unsafe { pg_sys::debug_query_string = std::ptr::null() }
}

/// Runs `body`, whose messages do not concern the query, nor the functions that it calls.
pub fn without_query<R>(body: impl FnOnce() -> R) -> R {
    // SAFETY: state of this process; the text and the callbacks remain valid. An ERROR resets the callbacks itself.
    unsafe {
        let query = pg_sys::debug_query_string;
        let context = pg_sys::error_context_stack;
        pg_sys::debug_query_string = std::ptr::null();
        pg_sys::error_context_stack = std::ptr::null_mut();
        let value = body();
        pg_sys::error_context_stack = context;
        pg_sys::debug_query_string = query;
        value
    }
}

/// Reports `idle`. The last query stays visible, as in any session.
pub fn idle() {
    // SAFETY: no pointer is kept.
    unsafe { pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, std::ptr::null()) }
}

/// Reports table statistics, which autovacuum depends on.
pub fn flush_statistics() {
    // SAFETY: outside transactions, as PostgreSQL's main loops call it.
    unsafe {
        pg_sys::pgstat_report_stat(true);
    }
}

fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}
