//! State that a task leaves in its process and that no command of PostgreSQL discards. Most of it is removed here; if
//! something cannot be removed, the worker exits.

use super::{dblink, libraries, placeholder, procedure, temp_buffers};
use pgrx::{IntoDatum, pg_sys};
use std::cell::{Cell, RefCell};

/// The number of placeholders that may be hidden in a process. PostgreSQL searches and sorts them along with all
/// other settings.
const MAX_PLACEHOLDERS: usize = 500;

/// The library of PL/pgSQL, which keeps only plans between calls.
const STATELESS_LANGUAGE: &str = "plpgsql";

thread_local! {
    static LASTING: Cell<Option<&'static str>> = const { Cell::new(None) };
    /// Whether LOAD was run since the libraries were last examined.
    static LOAD_RUN: Cell<bool> = const { Cell::new(false) };
    /// [`libraries::loads`] when the libraries were last examined.
    static LOADS: Cell<u64> = const { Cell::new(0) };
    /// The names of the libraries when they were last examined.
    static LIBRARIES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static HAS_DBLINK: Cell<bool> = const { Cell::new(false) };
}

/// Records the state before the first task.
pub fn prepare() {
    temp_buffers::prepare();
    placeholder::hide();
    LOADS.set(libraries::loads());
    let names = libraries::names();
    HAS_DBLINK.set(names.iter().any(|name| name == dblink::LIBRARY));
    LIBRARIES.set(names);
}

/// State that a task has left behind and that only the end of this process removes.
pub fn lasting() -> Option<&'static str> {
    LASTING.get()
}

/// Notes that LOAD is about to be run.
pub fn note_load() {
    LOAD_RUN.set(true);
}

/// Notes that a function is about to be run.
pub fn note_function(function: pg_sys::Oid) {
    match function.to_u32() {
        pg_sys::F_SET_CONFIG => placeholder::note_setting(),
        pg_sys::F_PG_CREATE_PHYSICAL_REPLICATION_SLOT
        | pg_sys::F_PG_CREATE_LOGICAL_REPLICATION_SLOT
        | pg_sys::F_PG_COPY_PHYSICAL_REPLICATION_SLOT_NAME_NAME
        | pg_sys::F_PG_COPY_PHYSICAL_REPLICATION_SLOT_NAME_NAME_BOOL
        | pg_sys::F_PG_COPY_LOGICAL_REPLICATION_SLOT_NAME_NAME
        | pg_sys::F_PG_COPY_LOGICAL_REPLICATION_SLOT_NAME_NAME_BOOL
        | pg_sys::F_PG_COPY_LOGICAL_REPLICATION_SLOT_NAME_NAME_BOOL_NAME => {
            LASTING.set(Some("a replication slot"));
        }
        pg_sys::F_PG_REPLICATION_ORIGIN_SESSION_SETUP => LASTING.set(Some("a replication origin")),
        pg_sys::F_PG_BACKUP_START => LASTING.set(Some("a backup")),
        _ if placeholder::may_be_created_by(function) => placeholder::note_setting(),
        _ => {}
    }
}

/// Removes what a handler has left behind and the end of its subtransaction does not remove.
pub fn remove() {
    placeholder::hide();
    reseed();
}

/// Removes what the handlers of a task have left behind, and finds what cannot be removed. It runs in the task's
/// transaction.
pub fn remove_rest() {
    let loads = libraries::loads();
    let load_run = LOAD_RUN.take();
    if LOADS.replace(loads) != loads {
        examine_libraries(load_run);
    }
    if HAS_DBLINK.get() && dblink::disconnect_all().is_err() {
        LASTING.set(Some("a connection of dblink"));
    }
    if temp_buffers::differ() {
        LASTING.set(Some("another number of temp_buffers"));
    }
    if placeholder::hidden() > MAX_PLACEHOLDERS {
        LASTING.set(Some("settings of its own"));
    }
}

/// Examines the libraries that were loaded since the previous invocation.
fn examine_libraries(load_run: bool) {
    let names = libraries::names();
    let new: Vec<&str> = LIBRARIES
        .with_borrow(|known| names.iter().filter(|name| !known.contains(name)).map(String::as_str).collect());
    if load_run && !new.is_empty() {
        LASTING.set(Some("a library that LOAD has loaded"));
    }
    let is_new = |library: &String| new.iter().any(|name| name.strip_suffix(".so") == Some(library));
    if procedure::libraries_of_languages().iter().any(|name| name != STATELESS_LANGUAGE && is_new(name)) {
        LASTING.set(Some("the interpreter of a procedural language"));
    }
    if new.contains(&dblink::LIBRARY) {
        HAS_DBLINK.set(true);
    }
    LIBRARIES.set(names);
}

/// Gives `random()` a seed that no handler has chosen.
fn reseed() {
    // SAFETY: setseed takes a number from -1 to 1.
    unsafe { pgrx::direct_function_call_as_datum(pg_sys::setseed, &[(fraction() * 2.0 - 1.0).into_datum()]) };
}

/// A random number from 0 to 1, without 1.
fn fraction() -> f64 {
    // SAFETY: state of this process, which PostgreSQL has seeded.
    unsafe { pg_sys::pg_prng_double(&raw mut pg_sys::pg_global_prng_state) }
}
