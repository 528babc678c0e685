//! PostgreSQL errors as values.

use super::citus;
use crate::error::{PgError, kept};
use pgrx::pg_sys::panic::{CaughtError, ErrorReportWithLevel};
use pgrx::{PgTryBuilder, pg_sys};
use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_int, c_void};
use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;

/// Runs `body`; an ERROR raised in it (or a Rust panic) comes back as a [`PgError`].
///
/// As with PG_CATCH the caller has to end the transaction or subtransaction in which it happened.
pub fn catch<R>(body: impl FnOnce() -> R) -> Result<R, PgError> {
    let frame = ErrorFrame::push();
    let result = PgTryBuilder::new(AssertUnwindSafe(|| Ok(body())))
        .catch_others(|caught| Err(Box::new(caught)))
        .catch_rust_panic(|caught| Err(Box::new(caught)))
        .execute();
    let kept = frame.pop();
    result.map_err(|caught| with_deadlock_named(from_caught(*caught, kept)))
}

/// Citus resolves a distributed deadlock by cancelling a transaction. Its own flag distinguishes that from other
/// cancels. The error is reported as a deadlock, so that the task is retried.
fn with_deadlock_named(error: PgError) -> PgError {
    if error.sqlstate != "57014" || !citus::was_deadlock_victim() {
        return error;
    }
    PgError { sqlstate: "40P01".to_owned(), message: "distributed deadlock detected".to_owned(), ..error }
}

fn from_caught(caught: CaughtError, kept: Option<Kept>) -> PgError {
    match caught {
        CaughtError::PostgresError(report) => {
            let error = from_report(&report);
            // The kept details may belong to an error that was caught before.
            match kept.filter(|kept| kept.message == error.message) {
                Some(kept) => PgError {
                    sqlstate: kept.sqlstate,
                    context: kept.context,
                    raised_as: kept.user.to_u32(),
                    ..error
                },
                None => error,
            }
        }
        CaughtError::ErrorReport(report) => from_report(&report),
        CaughtError::RustPanic { ereport, .. } => from_report(&ereport),
    }
}

fn from_report(report: &ErrorReportWithLevel) -> PgError {
    PgError {
        sqlstate: sqlstate_text(report.sql_error_code() as i32),
        message: kept(report.message().as_bytes()),
        detail: report.detail().map(|text| kept(text.as_bytes()).into()),
        hint: report.hint().map(|text| kept(text.as_bytes()).into()),
        context: None,
        raised_as: 0,
    }
}

/// Five characters from PostgreSQL's packed form (`MAKE_SQLSTATE` in utils/elog.h: six bits each).
fn sqlstate_text(packed: i32) -> String {
    (0..5).map(|i| char::from(((packed >> (6 * i)) & 0x3f) as u8 + b'0')).collect()
}

/// The details that pgrx omits from a caught error: its CONTEXT, a SQLSTATE that is not one of PostgreSQL's own, and
/// the current user.
struct Kept {
    sqlstate: String,
    message: String,
    context: Option<Box<str>>,
    user: pg_sys::Oid,
}

/// The outermost entry of the error context stack. It is invoked last, when the CONTEXT of an error is complete.
struct ErrorFrame {
    callback: pg_sys::ErrorContextCallback,
    below: *mut pg_sys::ErrorContextCallback,
    kept: Option<Kept>,
}

/// A memory context for copies of errors. FreeErrorData does not free all that CopyErrorData allocates, and handlers
/// may raise and catch millions of errors.
struct Copies(pg_sys::MemoryContext);

// SAFETY: only used by the main thread, which is the only one that raises PostgreSQL errors.
unsafe impl Send for Copies {}
// SAFETY: as above.
unsafe impl Sync for Copies {}

static COPIES: OnceLock<Copies> = OnceLock::new();

fn copies() -> pg_sys::MemoryContext {
    // SAFETY: main thread; a context that lives as long as the process.
    let create = || unsafe {
        Copies(pg_sys::AllocSetContextCreateInternal(
            pg_sys::TopMemoryContext,
            c"pg_errand errors".as_ptr(),
            pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
            pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
            pg_sys::ALLOCSET_SMALL_MAXSIZE as usize,
        ))
    };
    COPIES.get_or_init(create).0
}

impl ErrorFrame {
    fn push() -> Box<Self> {
        // The context must not be created while an error is being raised.
        copies();
        let mut frame = Box::new(ErrorFrame {
            callback: pg_sys::ErrorContextCallback {
                previous: std::ptr::null_mut(),
                callback: Some(keep),
                arg: std::ptr::null_mut(),
            },
            below: std::ptr::null_mut(),
            kept: None,
        });
        frame.callback.arg = (&raw mut frame.kept).cast::<c_void>();
        // SAFETY: main thread; the box outlives its place on the stack, see `pop`.
        unsafe {
            frame.below = pg_sys::error_context_stack;
            frame.callback.previous = frame.below;
            pg_sys::error_context_stack = &raw mut frame.callback;
        }
        frame
    }

    #[allow(clippy::boxed_local, reason = "its address is on the error context stack")]
    fn pop(self: Box<Self>) -> Option<Kept> {
        // SAFETY: main thread; restores what `push` found.
        unsafe { pg_sys::error_context_stack = self.below };
        self.kept
    }
}

/// Called by errfinish for every message; keeps those of errors.
unsafe extern "C-unwind" fn keep(arg: *mut c_void) {
    // SAFETY: `arg` points to the `kept` of a live frame (it is unlinked before it is freed);
    // CopyErrorData must not run in ErrorContext, where errfinish calls us.
    unsafe {
        let place = &mut *arg.cast::<Option<Kept>>();
        let copies = copies();
        let previous = pg_sys::MemoryContextSwitchTo(copies);
        let data = pg_sys::CopyErrorData();
        if (*data).elevel >= pgrx::PgLogLevel::ERROR as i32 {
            let (mut user, mut security) = (pg_sys::InvalidOid, 0);
            pg_sys::GetUserIdAndSecContext(&mut user, &mut security);
            *place = Some(Kept {
                sqlstate: sqlstate_text((*data).sqlerrcode),
                message: text((*data).message).unwrap_or_default(),
                context: text((*data).context).map(Into::into),
                user,
            });
            shorten(&*data);
        }
        pg_sys::MemoryContextSwitchTo(previous);
        pg_sys::MemoryContextReset(copies);
    }
}

unsafe fn text(text: *const c_char) -> Option<String> {
    // SAFETY: null or terminated, as the fields of ErrorData are.
    (!text.is_null()).then(|| kept(unsafe { CStr::from_ptr(text) }.to_bytes()))
}

unsafe extern "C-unwind" {
    // utils/elog.h, without pgrx's error boundary: they only copy. errhint is not among its bindings.
    fn errmsg_internal(format: *const c_char, ...) -> c_int;
    fn errdetail_internal(format: *const c_char, ...) -> c_int;
    fn errhint(format: *const c_char, ...) -> c_int;
}

/// Truncates the texts of the error that is being raised, of which `data` is a copy: code that catches the error
/// copies them several times.
unsafe fn shorten(data: &pg_sys::ErrorData) {
    type Set = unsafe extern "C-unwind" fn(*const c_char, ...) -> c_int;
    let texts: [(*const c_char, Set); 3] =
        [(data.message, errmsg_internal), (data.detail, errdetail_internal), (data.hint, errhint)];
    for (old, set) in texts {
        // SAFETY: null or terminated; an error is being raised, in whose callbacks these may be called. They
        // copy the text to where the error keeps its own.
        unsafe {
            if let Some(new) = text(old)
                && new.len() < CStr::from_ptr(old).to_bytes().len()
                && let Ok(new) = CString::new(new)
            {
                set(c"%s".as_ptr(), new.as_ptr());
            }
        }
    }
}
