//! Connections that `dblink_connect` has opened. They belong to the process, and a later task that used one would act
//! with the privileges of the user for whom it was opened.

use super::function::call_directly;
use super::{libraries, transaction};
use crate::error::PgError;
use pgrx::{FromDatum, IntoDatum, pg_sys};
use std::ffi::CStr;

/// The file of the library.
pub const LIBRARY: &str = "dblink.so";

/// Closes every connection.
///
/// # Errors
/// If a connection could not be closed.
pub fn disconnect_all() -> Result<(), PgError> {
    let (names, disconnect) = (function(c"dblink_get_connections"), function(c"dblink_disconnect"));
    if names.is_none() || disconnect.is_none() {
        return Err(PgError::new("58000", "the functions of dblink are not found"));
    }
    let call = |function, argument| transaction::attempt(|| call_directly(function, argument));
    // SAFETY: it returns null or text[].
    let names =
        call(names, None)?.and_then(|names| unsafe { Vec::<Option<String>>::from_datum(names, false) });
    for name in names.into_iter().flatten().flatten() {
        call(disconnect, name.into_datum())?;
    }
    match call(disconnect, None) {
        Err(error) if error.sqlstate != "08003" => Err(error),
        // There was an unnamed connection, or none.
        _ => Ok(()),
    }
}

fn function(name: &CStr) -> pg_sys::PGFunction {
    // SAFETY: a function of the library, with the calling convention of PostgreSQL's version 1.
    libraries::symbol(name).and_then(|address| unsafe {
        std::mem::transmute::<*mut std::ffi::c_void, pg_sys::PGFunction>(address)
    })
}
