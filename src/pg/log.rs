//! The server log: one line per event, filtered by `pg_errand.log_level`. And errors for whoever calls.

use super::activity;
use crate::config::{self, LogLevel};
use crate::error::PgError;

use pgrx::{PgLogLevel, PgSqlErrorCode, pg_sys::panic::ErrorReport};

/// Messages are cut off here, in bytes: what users' functions say and are called may be of any length.
const MAX_MESSAGE: usize = 8192;

/// True if the setting lets events of this level pass.
pub fn is_wanted(level: LogLevel) -> bool {
    level >= config::LOG_LEVEL.get()
}

/// Writes an event of level `level`, if the setting lets it pass.
pub fn event(level: LogLevel, message: String) {
    write(level, message, None);
}

/// [`event`] with a HINT that says what to do.
pub fn event_with_hint(level: LogLevel, message: String, hint: String) {
    write(level, message, Some(hint));
}

fn write(level: LogLevel, message: String, hint: Option<String>) {
    if !is_wanted(level) {
        return;
    }
    // LOG always reaches the server log; an ERROR can't be used, it would end what is running.
    let severity = match level {
        LogLevel::Debug | LogLevel::Info => PgLogLevel::LOG,
        LogLevel::Warning | LogLevel::Error => PgLogLevel::WARNING,
    };
    let text = format!("pg_errand: {}", excerpt(&message, MAX_MESSAGE));
    let mut report = ErrorReport::new(PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION, text, "");
    if let Some(hint) = hint {
        report = report.set_hint(hint);
    }
    activity::without_query(|| report.report(severity));
}

/// Raises a warning in the current session.
pub fn warn(message: String, hint: String) {
    ErrorReport::new(PgSqlErrorCode::ERRCODE_WARNING, message, "").set_hint(hint).report(PgLogLevel::WARNING);
}

/// Raises an error that says what to do.
pub fn refuse(code: PgSqlErrorCode, message: String, hint: String) -> ! {
    ErrorReport::new(code, message, "").set_hint(hint).report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not return")
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

/// The beginning of a text, for a log line: `limit` bytes at most.
pub fn excerpt(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}
