//! Dependencies between objects (`pg_depend`).

use pgrx::pg_sys;
use std::ffi::CStr;

/// Records that the extension of this name depends on a schema.
pub fn of_extension_on_schema(extension: &CStr, schema: pg_sys::Oid) {
    let address = |class, object| pg_sys::ObjectAddress { classId: class, objectId: object, objectSubId: 0 };
    // SAFETY: within a transaction; the addresses are of objects that exist, or the look-up raises an error.
    unsafe {
        let extension = pg_sys::get_extension_oid(extension.as_ptr(), false);
        pg_sys::recordDependencyOn(
            &address(pg_sys::ExtensionRelationId, extension),
            &address(pg_sys::NamespaceRelationId, schema),
            pg_sys::DependencyType::DEPENDENCY_NORMAL,
        );
    }
}
