//! Databases, roles and relations in the catalogs. A process that is connected to no database can read the shared
//! catalogs.

use super::majors::since_16;
use pgrx::{FromDatum, pg_sys};
use std::ffi::{CStr, CString};

/// A row of `pg_database`.
pub struct DatabaseRow {
    pub oid: pg_sys::Oid,
    pub name: String,
    pub is_template: bool,
    pub allows_connections: bool,
}

/// All databases.
pub fn databases() -> Vec<DatabaseRow> {
    scan(pg_sys::DatabaseRelationId, |tuple, _| {
        // SAFETY: a row of pg_database; its fixed part maps onto the struct.
        let row = unsafe { &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_database>() };
        DatabaseRow {
            oid: row.oid,
            name: name_text(&row.datname),
            is_template: row.datistemplate,
            // -2 marks a database that an interrupted DROP DATABASE left invalid (DATCONNLIMIT_INVALID_DB).
            allows_connections: row.datallowconn && row.datconnlimit != -2,
        }
    })
}

/// What the launcher needs to know of a role.
pub struct Role {
    pub oid: pg_sys::Oid,
    pub can_login: bool,
}

/// The role of that name, if there is one.
pub fn role(name: &str) -> Option<Role> {
    let name = CString::new(name).ok()?;
    // SAFETY: a pinned syscache entry, read with the descriptor of its table and released before the return.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::AUTHNAME as i32,
            pg_sys::Datum::from(name.as_ptr()),
        );
        if tuple.is_null() {
            return None;
        }
        let table = pg_sys::table_open(pg_sys::AuthIdRelationId, pg_sys::AccessShareLock as _);
        let column = |name: &CStr| {
            let mut null = false;
            let number = pg_sys::SPI_fnumber((*table).rd_att, name.as_ptr());
            pg_sys::heap_getattr(tuple, number, (*table).rd_att, &mut null)
        };
        let oid = pg_sys::Oid::from_datum(column(c"oid"), false);
        let can_login = bool::from_datum(column(c"rolcanlogin"), false);
        pg_sys::table_close(table, pg_sys::AccessShareLock as _);
        pg_sys::ReleaseSysCache(tuple);
        Some(Role { oid: oid?, can_login: can_login? })
    }
}

/// The name of the role with this OID, if there is one.
pub fn role_name(role: pg_sys::Oid) -> Option<String> {
    // SAFETY: a catalog look-up; the name is copied.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}

/// True if the current user has the privileges of the owner of the queue's tables.
pub fn has_rights_of_owner() -> bool {
    owner_of(c"queues", c"task").is_some_and(has_rights_of)
}

/// True if the relation is a member of the extension of that name.
pub fn is_member(relation: pg_sys::Oid, extension: &CStr) -> bool {
    // SAFETY: catalog look-ups.
    unsafe {
        let of = pg_sys::getExtensionOfObject(pg_sys::RelationRelationId, relation);
        of != pg_sys::InvalidOid && of == pg_sys::get_extension_oid(extension.as_ptr(), true)
    }
}

/// True if `role` may connect to `database`.
pub fn may_connect(database: pg_sys::Oid, role: pg_sys::Oid) -> bool {
    since_16::has_privilege_on_database(database, role, pg_sys::ACL_CONNECT as _)
}

/// True if the current user owns `database`.
pub fn owns_database(database: pg_sys::Oid) -> bool {
    since_16::owns_database(database, current_user())
}

/// The extension of that name, if there is one.
pub fn extension(name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: a catalog look-up.
    let oid = unsafe { pg_sys::get_extension_oid(name.as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// Whether the current user owns the extension of that name; `None` if there is none.
pub fn owns_extension(name: &CStr) -> Option<bool> {
    extension(name).map(|oid| since_16::owns_extension(oid, current_user()))
}

fn current_user() -> pg_sys::Oid {
    // SAFETY: state of this process.
    unsafe { pg_sys::GetUserId() }
}

/// True if the current user may read the relation `schema.name`.
pub fn may_select(schema: &CStr, name: &CStr) -> bool {
    // SAFETY: a catalog look-up.
    relation(schema, name).is_some_and(|relation| unsafe {
        pg_sys::pg_class_aclcheck(relation, pg_sys::GetUserId(), pg_sys::ACL_SELECT as _)
            == pg_sys::AclResult::ACLCHECK_OK
    })
}

/// The relation `schema.name`, if there is one.
pub fn relation(schema: &CStr, name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: catalog look-ups.
    let oid = unsafe {
        let namespace = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        pg_sys::get_relname_relid(name.as_ptr(), namespace)
    };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// True if a table has no page, and therefore no row, as of now.
pub fn has_no_page(table: pg_sys::Oid) -> bool {
    // SAFETY: within a transaction.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as _);
        let pages = pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM);
        pg_sys::relation_close(relation, pg_sys::AccessShareLock as _);
        pages == 0
    }
}

/// The owner of the relation `schema.name`, if there is one.
pub fn owner_of(schema: &CStr, name: &CStr) -> Option<pg_sys::Oid> {
    let relation = relation(schema, name)?;
    // SAFETY: a syscache entry, released before the return.
    unsafe {
        let tuple =
            pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as i32, pg_sys::Datum::from(relation));
        if tuple.is_null() {
            return None;
        }
        let owner = (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>()).relowner;
        pg_sys::ReleaseSysCache(tuple);
        Some(owner)
    }
}

/// True if the current user may act as `role`.
pub fn has_rights_of(role: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up.
    unsafe { pg_sys::has_privs_of_role(pg_sys::GetUserId(), role) }
}

/// The database of that name.
pub fn database_oid(name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: a catalog look-up.
    let oid = unsafe { pg_sys::get_database_oid(name.as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// Maps every row of a catalog, or of a small table that is read like a catalog; within a transaction.
pub(super) fn scan<R>(
    relation: pg_sys::Oid,
    mut map: impl FnMut(pg_sys::HeapTuple, pg_sys::TupleDesc) -> R,
) -> Vec<R> {
    let mut rows = Vec::new();
    // SAFETY: as autovacuum.c's get_database_list: a catalog scan with its own snapshot; tuples are
    // used before the next one is fetched.
    unsafe {
        let table = pg_sys::table_open(relation, pg_sys::AccessShareLock as _);
        let scan = pg_sys::table_beginscan_catalog(table, 0, std::ptr::null_mut());
        loop {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            rows.push(map(tuple, (*table).rd_att));
        }
        pg_sys::table_endscan(scan);
        pg_sys::table_close(table, pg_sys::AccessShareLock as _);
    }
    rows
}

fn name_text(name: &pg_sys::NameData) -> String {
    // SAFETY: NameData is NUL-padded.
    unsafe { CStr::from_ptr(name.data.as_ptr()) }.to_string_lossy().into_owned()
}
