//! Events for the server log, filtered by `pg_errand.log_level`, and errors for the client.

use super::activity;
use crate::error::PgError;
use crate::line::Line;
use pgrx::guc::PostgresGucEnum;
use pgrx::{PgLogLevel, PgSqlErrorCode, pg_sys, pg_sys::panic::ErrorReport};
use std::ffi::CStr;
use std::sync::OnceLock;

/// The length in bytes at which messages and hints are truncated, since errors of users' functions may be of any length.
const MAX_MESSAGE: usize = 8192;
/// `LOG_DESTINATION_JSONLOG` of utils/elog.h.
const JSONLOG: i32 = 16;

/// The severity of an event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, PostgresGucEnum)]
pub enum LogLevel {
    #[name = c"debug"]
    Debug,
    #[name = c"info"]
    Info,
    #[name = c"warning"]
    Warning,
    #[name = c"error"]
    Error,
}

/// Reads the setting that determines which events are logged.
static THRESHOLD: OnceLock<fn() -> LogLevel> = OnceLock::new();

/// Restricts logging to events of the level that `threshold` returns, or of a higher one.
pub fn set_threshold(threshold: fn() -> LogLevel) {
    let _ = THRESHOLD.set(threshold);
}

/// True if events of this level are logged.
pub fn is_wanted(level: LogLevel) -> bool {
    THRESHOLD.get().is_none_or(|threshold| level >= threshold())
}

/// Logs an event.
pub fn event(level: LogLevel, message: String) {
    write(level, message, None, None);
}

/// Logs an event with a hint that says what to do.
pub fn event_with_hint(level: LogLevel, message: String, hint: String) {
    write(level, message, None, Some(hint));
}

/// Logs an event that has fields. Where the server logs as JSON, the detail of the message is an object of them.
pub fn line(level: LogLevel, line: Line) {
    write(level, line.text(), is_json().then(|| line.json()), line.hint);
}

/// True if `log_destination` contains `jsonlog`.
fn is_json() -> bool {
    // SAFETY: only the main thread calls this, which is the one that changes settings.
    unsafe { pg_sys::Log_destination & JSONLOG != 0 }
}

fn write(level: LogLevel, message: String, detail: Option<String>, hint: Option<String>) {
    if !is_wanted(level) {
        return;
    }
    // LOG always reaches the server log. ERROR cannot be used, since it would abort the current operation.
    let severity = match level {
        LogLevel::Debug | LogLevel::Info => PgLogLevel::LOG,
        LogLevel::Warning | LogLevel::Error => PgLogLevel::WARNING,
    };
    let text = format!("pg_errand: {}", excerpt(&message, MAX_MESSAGE));
    let mut report = ErrorReport::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, text, "");
    if let Some(detail) = detail {
        report = report.set_detail(detail);
    }
    if let Some(hint) = hint {
        report = report.set_hint(excerpt(&hint, MAX_MESSAGE));
    }
    activity::without_query(|| report.report(severity));
}

/// Raises a warning in the current session.
pub fn warn(message: String, hint: String) {
    ErrorReport::new(PgSqlErrorCode::ERRCODE_WARNING, message, "").set_hint(hint).report(PgLogLevel::WARNING);
}

/// Raises an error with a hint that says what to do.
pub fn refuse(code: PgSqlErrorCode, message: String, hint: String) -> ! {
    ErrorReport::new(code, message, "").set_hint(hint).report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not return")
}

/// Raises an error about a table of schema `queues` that is not there.
pub fn refuse_missing(table: &CStr) -> ! {
    refuse(
        PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
        format!("table \"queues.{}\" is missing", table.to_string_lossy()),
        "Restore the database, or create the extension anew.".into(),
    )
}

/// Raises a caught error again.
pub fn raise(error: &PgError) -> ! {
    // MAKE_SQLSTATE in utils/elog.h: six bits each.
    let code = error
        .sqlstate
        .bytes()
        .rev()
        .fold(0, |code, byte| code << 6 | i32::from(byte.wrapping_sub(b'0') & 0x3f));
    let detail = error.detail.as_deref().unwrap_or_default();
    let mut report = ErrorReport::new(PgSqlErrorCode::from(code), error.message.clone(), "");
    if !detail.is_empty() {
        report = report.set_detail(detail);
    }
    if let Some(hint) = &error.hint {
        report = report.set_hint(hint.to_string());
    }
    report.report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not return")
}

/// The beginning of a text, of at most `limit` bytes.
pub fn excerpt(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}
