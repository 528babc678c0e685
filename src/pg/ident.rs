//! Names of functions, as users write them in payloads.

use pgrx::{FromDatum, IntoDatum, direct_function_call_as_datum, pg_sys};
use std::ffi::{CStr, CString};

/// The parts of an optionally qualified, optionally quoted identifier. Raises 22023 on anything
/// else, a call or a statement for instance (SQL function `parse_ident`, strict).
pub fn parse(name: &str) -> Vec<String> {
    // SAFETY: parse_ident takes a text and a boolean and returns text[].
    unsafe {
        let parts =
            direct_function_call_as_datum(pg_sys::parse_ident, &[name.into_datum(), true.into_datum()])
                .unwrap_or(pg_sys::Datum::null());
        Vec::<String>::from_datum(parts, parts.is_null()).unwrap_or_default()
    }
}

/// A part of a name, quoted where SQL needs it.
pub fn quote(part: &str) -> String {
    let text = CString::new(part).expect("identifiers hold no NUL");
    // SAFETY: returns the argument or a palloc'd string.
    unsafe { CStr::from_ptr(pg_sys::quote_identifier(text.as_ptr())).to_string_lossy().into_owned() }
}
