//! PostgreSQL errors as values.

use crate::error::PgError;
use pgrx::pg_sys::panic::{CaughtError, ErrorReportWithLevel};
use pgrx::{PgTryBuilder, pg_sys};
use std::ffi::CStr;
use std::os::raw::c_void;
use std::panic::AssertUnwindSafe;

/// Runs `body`; an ERROR raised in it (or a Rust panic) comes back as a [`PgError`].
///
/// As with PG_CATCH the caller has to end the transaction or subtransaction in which it happened.
pub fn catch<R>(body: impl FnOnce() -> R) -> Result<R, PgError> {
    let frame = ContextFrame::push();
    let result = PgTryBuilder::new(AssertUnwindSafe(|| Ok(body())))
        .catch_others(|caught| Err(from_caught(caught)))
        .catch_rust_panic(|caught| Err(from_caught(caught)))
        .execute();
    let context = frame.pop();
    result.map_err(|error| PgError { context: context.filter(|text| !text.is_empty()), ..error })
}

fn from_caught(caught: CaughtError) -> PgError {
    match caught {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => from_report(&report),
        CaughtError::RustPanic { ereport, .. } => from_report(&ereport),
    }
}

fn from_report(report: &ErrorReportWithLevel) -> PgError {
    PgError {
        sqlstate: sqlstate_text(report.sql_error_code() as i32),
        message: report.message().to_owned(),
        detail: report.detail().map(str::to_owned),
        hint: report.hint().map(str::to_owned),
        context: None,
    }
}

/// Five characters from PostgreSQL's packed form (`MAKE_SQLSTATE` in utils/elog.h: six bits each).
fn sqlstate_text(packed: i32) -> String {
    (0..5).map(|i| char::from(((packed >> (6 * i)) & 0x3f) as u8 + b'0')).collect()
}

/// The outermost entry of the error context stack. It is called last, when the CONTEXT text of an
/// error is complete, and keeps it: a caught error carries none across pgrx's boundary.
struct ContextFrame {
    callback: pg_sys::ErrorContextCallback,
    below: *mut pg_sys::ErrorContextCallback,
    context: Option<String>,
}

impl ContextFrame {
    fn push() -> Box<Self> {
        let mut frame = Box::new(ContextFrame {
            callback: pg_sys::ErrorContextCallback {
                previous: std::ptr::null_mut(),
                callback: Some(keep_context),
                arg: std::ptr::null_mut(),
            },
            below: std::ptr::null_mut(),
            context: None,
        });
        frame.callback.arg = (&raw mut frame.context).cast::<c_void>();
        // SAFETY: main thread; the box outlives its place on the stack, see `pop`.
        unsafe {
            frame.below = pg_sys::error_context_stack;
            frame.callback.previous = frame.below;
            pg_sys::error_context_stack = &raw mut frame.callback;
        }
        frame
    }

    fn pop(self: Box<Self>) -> Option<String> {
        // SAFETY: main thread; restores what `push` found.
        unsafe { pg_sys::error_context_stack = self.below };
        self.context
    }
}

/// Called by errfinish for every message; keeps the context of errors.
unsafe extern "C-unwind" fn keep_context(arg: *mut c_void) {
    // SAFETY: `arg` points to the `context` of a live frame (it is unlinked before it is freed);
    // CopyErrorData must not run in ErrorContext, where errfinish calls us.
    unsafe {
        let place = &mut *arg.cast::<Option<String>>();
        let previous = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
        let data = pg_sys::CopyErrorData();
        if (*data).elevel >= pgrx::PgLogLevel::ERROR as i32 {
            *place = (!(*data).context.is_null())
                .then(|| CStr::from_ptr((*data).context).to_string_lossy().into_owned());
        }
        pg_sys::FreeErrorData(data);
        pg_sys::MemoryContextSwitchTo(previous);
    }
}
