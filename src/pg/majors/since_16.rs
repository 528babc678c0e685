//! PostgreSQL 16 has one function each for privileges and ownership of all types of objects, keeps settings in a hash
//! table, and reports which index entries an update needs.

use pgrx::pg_sys;
use std::ffi::CStr;
use std::os::raw::c_char;

pub(in crate::pg) use version::*;

#[cfg(feature = "pg15")]
mod version {
    use super::*;
    use std::cell::Cell;

    pub fn has_privilege_on_database(
        database: pg_sys::Oid,
        role: pg_sys::Oid,
        mode: pg_sys::AclMode,
    ) -> bool {
        // SAFETY: a catalog look-up.
        unsafe { pg_sys::pg_database_aclcheck(database, role, mode) == pg_sys::AclResult::ACLCHECK_OK }
    }

    pub fn has_privilege_on_function(
        function: pg_sys::Oid,
        role: pg_sys::Oid,
        mode: pg_sys::AclMode,
    ) -> bool {
        // SAFETY: a catalog look-up.
        unsafe { pg_sys::pg_proc_aclcheck(function, role, mode) == pg_sys::AclResult::ACLCHECK_OK }
    }

    pub fn owns_database(database: pg_sys::Oid, role: pg_sys::Oid) -> bool {
        // SAFETY: a catalog look-up.
        unsafe { pg_sys::pg_database_ownercheck(database, role) }
    }

    pub fn owns_extension(extension: pg_sys::Oid, role: pg_sys::Oid) -> bool {
        // SAFETY: a catalog look-up.
        unsafe { pg_sys::pg_extension_ownercheck(extension, role) }
    }

    /// The record of a setting; null if there is none of this name.
    ///
    /// # Safety
    /// Main thread.
    pub unsafe fn setting(name: &CStr) -> *mut pg_sys::config_generic {
        // SAFETY: the array has as many records as are counted.
        unsafe {
            let records = pg_sys::get_guc_variables();
            (0..pg_sys::GetNumConfigOptions() as usize)
                .map(|i| *records.add(i))
                .find(|record| CStr::from_ptr((**record).name) == name)
                .unwrap_or(std::ptr::null_mut())
        }
    }

    /// PostgreSQL reports how many settings there are, so no other sign of a new one is needed.
    pub const SETTINGS_ARE_COUNTED: bool = true;

    /// False if it is certain that no setting was added since the previous invocation. `may_have_set`: whether a
    /// setting was set since then.
    pub fn may_have_new_settings(_may_have_set: bool) -> bool {
        thread_local! {
            static COUNT: Cell<i32> = const { Cell::new(0) };
        }
        // SAFETY: a counter of this process.
        let count = unsafe { pg_sys::GetNumConfigOptions() };
        COUNT.replace(count) != count
    }

    /// Calls `rename` for the record of each setting and returns how many it renamed. A renamed record moves to the
    /// front, since records are sorted by name and found by bisection.
    ///
    /// # Safety
    /// Main thread, while no setting is being changed. The new name sorts before all others.
    pub unsafe fn rename_settings(rename: impl Fn(*mut pg_sys::config_generic) -> bool) -> usize {
        // SAFETY: the array of all records, which is changed only here and where a setting is added.
        unsafe {
            let count = pg_sys::GetNumConfigOptions() as usize;
            let records = std::slice::from_raw_parts_mut(pg_sys::get_guc_variables(), count);
            let mut renamed = 0;
            for place in 0..count {
                if rename(records[place]) {
                    records[..=place].rotate_right(1);
                    renamed += 1;
                }
            }
            renamed
        }
    }

    /// Memory that PostgreSQL frees as the `extra` of a setting; null if there is none.
    pub fn allocate_for_setting(size: usize) -> *mut c_char {
        // SAFETY: allocates.
        unsafe { libc::malloc(size).cast() }
    }

    /// `heap_update`, waiting for other transactions.
    ///
    /// # Safety
    /// As for `heap_update`.
    pub unsafe fn heap_update(
        relation: pg_sys::Relation,
        old: pg_sys::ItemPointer,
        new: pg_sys::HeapTuple,
        failure: &mut pg_sys::TM_FailureData,
        mode: &mut pg_sys::LockTupleMode::Type,
    ) -> pg_sys::TM_Result::Type {
        let none = std::ptr::null_mut();
        // SAFETY: as the caller promises.
        unsafe {
            let command = pg_sys::GetCurrentCommandId(true);
            pg_sys::heap_update(relation, old, new, command, none, true, failure, mode)
        }
    }
}

#[cfg(not(feature = "pg15"))]
mod version {
    use super::*;

    pub fn has_privilege_on_database(
        database: pg_sys::Oid,
        role: pg_sys::Oid,
        mode: pg_sys::AclMode,
    ) -> bool {
        has_privilege(pg_sys::DatabaseRelationId, database, role, mode)
    }

    pub fn has_privilege_on_function(
        function: pg_sys::Oid,
        role: pg_sys::Oid,
        mode: pg_sys::AclMode,
    ) -> bool {
        has_privilege(pg_sys::ProcedureRelationId, function, role, mode)
    }

    fn has_privilege(
        class: pg_sys::Oid,
        object: pg_sys::Oid,
        role: pg_sys::Oid,
        mode: pg_sys::AclMode,
    ) -> bool {
        // SAFETY: a catalog look-up.
        unsafe { pg_sys::object_aclcheck(class, object, role, mode) == pg_sys::AclResult::ACLCHECK_OK }
    }

    pub fn owns_database(database: pg_sys::Oid, role: pg_sys::Oid) -> bool {
        // SAFETY: a catalog look-up.
        unsafe { pg_sys::object_ownercheck(pg_sys::DatabaseRelationId, database, role) }
    }

    pub fn owns_extension(extension: pg_sys::Oid, role: pg_sys::Oid) -> bool {
        // SAFETY: a catalog look-up.
        unsafe { pg_sys::object_ownercheck(pg_sys::ExtensionRelationId, extension, role) }
    }

    /// The record of a setting; null if there is none of this name.
    ///
    /// # Safety
    /// Main thread.
    pub unsafe fn setting(name: &CStr) -> *mut pg_sys::config_generic {
        // SAFETY: a look-up by name that reports no error.
        unsafe { pg_sys::find_option(name.as_ptr(), false, true, 0) }
    }

    /// PostgreSQL does not report how many settings there are.
    pub const SETTINGS_ARE_COUNTED: bool = false;

    /// False if it is certain that no setting was added since the previous invocation. `may_have_set`: whether a
    /// setting was set since then. PostgreSQL does not report how many settings there are.
    pub fn may_have_new_settings(may_have_set: bool) -> bool {
        may_have_set
    }

    /// Calls `rename` for the record of each setting and returns how many it renamed. Records are found by the hash of
    /// their names; a renamed record remains at the position that the hash of its first name determined.
    ///
    /// # Safety
    /// Main thread, while no setting is being changed.
    pub unsafe fn rename_settings(rename: impl Fn(*mut pg_sys::config_generic) -> bool) -> usize {
        let mut count = 0;
        // SAFETY: a new array of all records, freed here.
        unsafe {
            let records = pg_sys::get_guc_variables(&mut count);
            let renamed = (0..count as usize).filter(|place| rename(*records.add(*place))).count();
            pg_sys::pfree(records.cast());
            renamed
        }
    }

    /// Memory that PostgreSQL frees as the `extra` of a setting; null if there is none.
    pub fn allocate_for_setting(size: usize) -> *mut c_char {
        // SAFETY: allocates.
        unsafe { pg_sys::guc_malloc(pgrx::PgLogLevel::LOG as i32, size).cast() }
    }

    /// `heap_update`, waiting for other transactions.
    ///
    /// # Safety
    /// As for `heap_update`.
    pub unsafe fn heap_update(
        relation: pg_sys::Relation,
        old: pg_sys::ItemPointer,
        new: pg_sys::HeapTuple,
        failure: &mut pg_sys::TM_FailureData,
        mode: &mut pg_sys::LockTupleMode::Type,
    ) -> pg_sys::TM_Result::Type {
        let none = std::ptr::null_mut();
        let mut indexes = pg_sys::TU_UpdateIndexes::TU_None;
        // SAFETY: as the caller promises.
        unsafe {
            let command = pg_sys::GetCurrentCommandId(true);
            pg_sys::heap_update(relation, old, new, command, none, true, failure, mode, &mut indexes)
        }
    }
}
