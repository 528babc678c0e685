//! What `pg_stat_activity` shows of a process.

use pgrx::pg_sys;
use std::cell::RefCell;
use std::ffi::CString;
use std::fmt::{self, Write};

thread_local! {
    /// Kept, since it is written for every handler.
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
        buffer.clear();
        let _ = write!(buffer, "{text}\0");
        // SAFETY: copies the text, up to the first NUL.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, buffer.as_ptr().cast());
        }
    });
}

/// Reports `idle`; the last query stays, as in any session.
pub fn idle() {
    // SAFETY: no pointer is kept.
    unsafe { pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, std::ptr::null()) }
}

/// Sends table statistics (autovacuum depends on them).
pub fn flush_statistics() {
    // SAFETY: outside transactions, as PostgreSQL's main loops call it.
    unsafe {
        pg_sys::pgstat_report_stat(true);
    }
}

fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}
