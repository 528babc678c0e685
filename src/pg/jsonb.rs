//! Converts jsonb between PostgreSQL and Rust by way of its text, which is exact for all numbers.

use super::jsonb_size::{self, TooLong};
use pgrx::{IntoDatum, pg_sys};
use std::ffi::{CStr, CString};

/// The text of a jsonb datum.
///
/// # Errors
/// If the text would have more than `limit` bytes.
pub fn to_text(datum: pg_sys::Datum, limit: usize) -> Result<String, TooLong> {
    if jsonb_size::is_longer(datum, limit) { Err(TooLong) } else { Ok(output(datum)) }
}

/// The text of a jsonb datum whose size was checked.
pub(super) fn output(datum: pg_sys::Datum) -> String {
    // SAFETY: a jsonb datum; jsonb_out returns a palloc'd C string in the database encoding.
    unsafe {
        let text = pg_sys::OidOutputFunctionCall(pg_sys::Oid::from(pg_sys::F_JSONB_OUT), datum);
        let owned = CStr::from_ptr(text).to_string_lossy().into_owned();
        pg_sys::pfree(text.cast());
        owned
    }
}

/// True for `{}`.
pub fn is_empty_object(datum: pg_sys::Datum) -> bool {
    /// utils/jsonb.h: JB_FOBJECT, with a count of 0.
    const EMPTY_OBJECT: u32 = 0x2000_0000;
    // SAFETY: a jsonb datum; unpacked, it has a header after its length.
    unsafe {
        let value = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
        value.cast::<u32>().add(1).read_unaligned() == EMPTY_OBJECT
    }
}

/// The value without compression, so that it is decompressed only once. It lives as long as the current memory context.
pub fn unpacked(datum: pg_sys::Datum) -> pg_sys::Datum {
    // SAFETY: a jsonb datum.
    unsafe { pg_sys::Datum::from(pg_sys::pg_detoast_datum_copy(datum.cast_mut_ptr())) }
}

/// A string as jsonb. Raises an error if it is too large.
pub fn string(text: &str) -> pg_sys::Datum {
    from_text(&serde_json::Value::from(text).to_string())
}

/// An object with two fields, whose names need no escapes. Raises an error if it is too large.
pub fn object(fields: [(&str, pg_sys::Datum); 2]) -> pg_sys::Datum {
    fields.into_iter().fold(from_text("{}"), |object, (name, value)| {
        let path = vec![name].into_datum();
        // SAFETY: jsonb_set takes jsonb, text[], jsonb and a boolean, and returns jsonb.
        unsafe {
            pgrx::direct_function_call_as_datum(
                pg_sys::jsonb_set,
                &[Some(object), path, Some(value), true.into_datum()],
            )
        }
        .unwrap_or(object)
    })
}

/// A `jsonb[]` of values.
pub fn array(values: &[Option<pg_sys::Datum>]) -> pg_sys::Datum {
    let mut nulls: Vec<bool> = values.iter().map(Option::is_none).collect();
    let mut values: Vec<_> = values.iter().map(|value| value.unwrap_or(pg_sys::Datum::null())).collect();
    let (mut length, mut lower) = (values.len() as i32, 1);
    // SAFETY: jsonb is a varlena aligned to ints, see pg_type; the arrays are copied.
    unsafe {
        pg_sys::Datum::from(pg_sys::construct_md_array(
            values.as_mut_ptr(),
            nulls.as_mut_ptr(),
            1,
            &mut length,
            &mut lower,
            pg_sys::JSONBOID,
            -1,
            false,
            pg_sys::TYPALIGN_INT as _,
        ))
    }
}

/// A jsonb datum from JSON text. Raises the errors of jsonb_in.
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
