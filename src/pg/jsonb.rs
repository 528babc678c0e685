//! jsonb between PostgreSQL and Rust, by its text form: exact, whatever the numbers in it.

use pgrx::pg_sys;
use std::ffi::{CStr, CString};

/// The text of a jsonb datum.
pub fn to_text(datum: pg_sys::Datum) -> String {
    // SAFETY: a jsonb datum; jsonb_out returns a palloc'd C string in the database encoding.
    unsafe {
        let text = pg_sys::OidOutputFunctionCall(pg_sys::Oid::from(pg_sys::F_JSONB_OUT), datum);
        let owned = CStr::from_ptr(text).to_string_lossy().into_owned();
        pg_sys::pfree(text.cast());
        owned
    }
}

/// A jsonb datum from JSON text. Raises what jsonb_in raises.
pub fn from_text(text: &str) -> pg_sys::Datum {
    let text = CString::new(text).expect("JSON text holds no NUL");
    // SAFETY: jsonb_in copies; -1 means no type modifier.
    unsafe {
        pg_sys::OidInputFunctionCall(
            pg_sys::Oid::from(pg_sys::F_JSONB_IN),
            text.as_ptr().cast_mut(),
            pg_sys::InvalidOid,
            -1,
        )
    }
}
