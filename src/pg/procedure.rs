//! Functions in the catalogs.

use super::catalog;
use pgrx::{FromDatum, pg_sys};
use std::ffi::CStr;

/// The name of the schema of a function.
pub fn schema_of(function: pg_sys::Oid) -> Option<String> {
    // SAFETY: look-ups in catalogs; null for what is not there.
    unsafe { owned_text(pg_sys::get_namespace_name(pg_sys::get_func_namespace(function))) }
}

/// True for an aggregate function.
pub fn is_aggregate(function: pg_sys::Oid) -> bool {
    // SAFETY: a look-up in a catalog.
    unsafe { pg_sys::get_func_prokind(function) as u8 == pg_sys::PROKIND_AGGREGATE }
}

/// The type that a function returns.
pub fn result_type(function: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: a look-up in a catalog.
    unsafe { pg_sys::get_func_rettype(function) }
}

/// The name of the extension that a function is a member of.
pub fn extension_of(function: pg_sys::Oid) -> Option<String> {
    // SAFETY: look-ups in catalogs; null for what is not there.
    unsafe {
        let extension = pg_sys::getExtensionOfObject(pg_sys::ProcedureRelationId, function);
        if extension == pg_sys::InvalidOid {
            return None;
        }
        owned_text(pg_sys::get_extension_name(extension))
    }
}

/// True if the function has a SET clause for a custom setting (`app.tenant`).
pub fn sets_custom_setting(function: pg_sys::Oid) -> bool {
    if function.to_u32() < pg_sys::FirstNormalObjectId {
        return false;
    }
    let clauses: Option<Vec<Option<String>>> = attribute(function, pg_sys::Anum_pg_proc_proconfig);
    let is_custom = |clause: String| clause.split('=').next().is_some_and(|name| name.contains('.'));
    clauses.into_iter().flatten().flatten().any(is_custom)
}

/// `pg_language` (catalog/pg_language.h), which is not among pgrx's bindings.
const LANGUAGES: pg_sys::Oid = pg_sys::Oid::from_u32(2612);

/// The names of the libraries of procedural languages, without directory and suffix.
pub fn libraries_of_languages() -> Vec<String> {
    let handlers = catalog::scan(LANGUAGES, |tuple, shape| {
        // SAFETY: a row with its descriptor; the column is an OID.
        unsafe {
            let mut null = false;
            let column = pg_sys::SPI_fnumber(shape, c"lanplcallfoid".as_ptr());
            pg_sys::Oid::from_datum(pg_sys::heap_getattr(tuple, column, shape, &mut null), null)
        }
    });
    let files = handlers.into_iter().flatten().filter_map(library_of_function);
    files.map(|file| file.rsplit('/').next().unwrap_or_default().trim_end_matches(".so").to_owned()).collect()
}

/// The library of a function in C, as its declaration names it.
fn library_of_function(function: pg_sys::Oid) -> Option<String> {
    attribute(function, pg_sys::Anum_pg_proc_probin)
}

/// A column of the row of a function in `pg_proc`; `None` if it is null or there is no such function. `T` has to be the
/// type of the column, and to hold a copy.
fn attribute<T: FromDatum>(function: pg_sys::Oid, column: u32) -> Option<T> {
    // SAFETY: the row stays valid until it is released; the value is copied.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::PROCOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(function));
        if tuple.is_null() {
            return None;
        }
        let mut null = false;
        let value = pg_sys::SysCacheGetAttr(cache, tuple, column as _, &mut null);
        let value = T::from_datum(value, null);
        pg_sys::ReleaseSysCache(tuple);
        value
    }
}

/// A terminated text that was allocated for the caller; `None` for null.
unsafe fn owned_text(text: *mut std::os::raw::c_char) -> Option<String> {
    // SAFETY: on the caller's promise; only the copy is used afterwards.
    unsafe {
        let owned = (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())?;
        pg_sys::pfree(text.cast());
        Some(owned)
    }
}
