//! Transactions that span servers. If a remote part were committed while the local commit is not flushed yet, a crash
//! would cause it to be executed twice.

use super::citus::{self, Remote};
use super::{catalog, libraries};
use pgrx::pg_sys;
use std::cell::Cell;

/// Libraries that let a session access other servers without a foreign table: `dblink`, PL/Proxy, and the PostgreSQL
/// clients for Python and Perl.
const CLIENTS: &[&str] = &["dblink.so", "plproxy.so", "_psycopg", "libpq-", "Pg.so"];

/// Libraries of foreign data wrappers whose names do not end in `_fdw`: Multicorn and Wrappers.
const WRAPPERS: &[&str] = &["multicorn", "wrappers"];

/// The libraries that this process has loaded.
#[derive(Clone, Copy)]
struct Loaded {
    /// [`libraries::loads`] when they were examined.
    loads: u64,
    /// Whether there is a foreign data wrapper. A transaction that uses one of its tables holds a lock on the table.
    wrapper: bool,
    /// Whether there is another library that can access other servers. What it does in a transaction is not known.
    client: bool,
    /// Whether libpq was loaded by a preloaded library.
    libpq_preloaded: bool,
}

thread_local! {
    static LOADED: Cell<Option<Loaded>> = const { Cell::new(None) };
}

/// True if the current transaction has, or may have, an open transaction on another server.
///
/// A process that has loaded `dblink` or another client may have one in every transaction. As long as a process loads
/// no further library, a comparison of the number of loads is enough.
pub fn is_open() -> bool {
    let loaded = loaded();
    loaded.client || citus::remote() != Remote::None || loaded.wrapper && holds_foreign_table()
}

/// Makes the commit of the current transaction synchronous and, with Citus, a two-phase commit. Called before the
/// transaction callbacks of other libraries.
pub fn secure_commit() {
    if citus::remote() == Remote::Open {
        citus::ask_for_two_phases();
    }
    // SAFETY: sets a flag of the current transaction.
    unsafe { pg_sys::ForceSyncCommit() }
}

/// True if the current transaction is a distributed one of Citus, or if that is not known.
pub fn is_distributed() -> bool {
    citus::remote() != Remote::None
}

/// True if the current transaction has, or may have, changed rows of this table.
pub fn has_written(table: pg_sys::Oid) -> bool {
    is_locked(table, pg_sys::RowExclusiveLock)
}

fn loaded() -> Loaded {
    let loads = libraries::loads();
    let before = LOADED.get();
    if let Some(loaded) = before.filter(|loaded| loaded.loads == loads) {
        return loaded;
    }
    let has_libpq = libraries::any(|name| name.starts_with("libpq.so"));
    let libpq_preloaded = before.map_or(has_libpq, |loaded| loaded.libpq_preloaded);
    let wrapper = libraries::any(|name| {
        name.ends_with("_fdw.so") && name != "file_fdw.so"
            || WRAPPERS.iter().any(|wrapper| name.starts_with(wrapper))
    });
    let client = libraries::any(|name| CLIENTS.iter().any(|client| name.starts_with(client)))
        || has_libpq && !libpq_preloaded && !wrapper;
    let loaded = Loaded { loads, wrapper, client, libpq_preloaded };
    LOADED.set(Some(loaded));
    loaded
}

/// True if the current transaction has used a foreign table, on which it holds a lock until it ends.
fn holds_foreign_table() -> bool {
    let tables = catalog::scan(pg_sys::ForeignTableRelationId, |tuple, _| {
        // SAFETY: a row of pg_foreign_table; its fixed part maps onto the struct.
        unsafe { (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_foreign_table>()).ftrelid }
    });
    tables.into_iter().any(|table| is_locked(table, pg_sys::AccessShareLock))
}

/// True if the current transaction holds a lock of this mode, or a stronger one, on a relation of this database.
fn is_locked(relation: pg_sys::Oid, mode: u32) -> bool {
    // SAFETY: reads the process's own table of locks, and of the relation only what identifies it there (lmgr.c); a
    // relation of zeros is plain data. CheckRelationOidLockedByMe would do, but early minor releases lack it, and
    // PostgreSQL refuses to load a library with a symbol that is missing.
    unsafe {
        let mut named: pg_sys::RelationData = std::mem::zeroed();
        named.rd_lockInfo.lockRelId = pg_sys::LockRelId { relId: relation, dbId: pg_sys::MyDatabaseId };
        pg_sys::CheckRelationLockedByMe(&mut named, mode as i32, true)
    }
}
