//! Names of functions, as users write them in payloads.

use super::log;
use pgrx::{FromDatum, IntoDatum, PgSqlErrorCode, direct_function_call_as_datum, pg_sys};
use std::ffi::{CStr, CString};

/// The maximum number of quotation marks in a name. Three parts of 63 bytes have fewer, including doubled ones.
/// `parse_ident` moves the rest of the name at each doubled one, without checking for interrupts.
const MAX_QUOTES: usize = 400;

/// The parts of an optionally qualified, optionally quoted identifier, as the SQL function `parse_ident` returns them.
/// Raises an error (22023) for anything else, such as a statement.
pub fn parse(name: &str) -> Vec<String> {
    if name.bytes().filter(|byte| *byte == b'"').count() > MAX_QUOTES {
        log::refuse(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("the name of a function has more than {MAX_QUOTES} quotation marks"),
            "Name a function, with its schema if need be.".into(),
        );
    }
    // SAFETY: parse_ident takes a text and a boolean and returns text[].
    unsafe {
        let parts =
            direct_function_call_as_datum(pg_sys::parse_ident, &[name.into_datum(), true.into_datum()])
                .unwrap_or(pg_sys::Datum::null());
        Vec::<String>::from_datum(parts, parts.is_null()).unwrap_or_default()
    }
}

/// A part of a name, quoted if SQL requires it.
pub fn quote(part: &str) -> String {
    let text = CString::new(part).expect("identifiers hold no NUL");
    // SAFETY: returns the argument or a palloc'd string.
    unsafe { CStr::from_ptr(pg_sys::quote_identifier(text.as_ptr())).to_string_lossy().into_owned() }
}
