//! The hook object_access_hook: objects that are dropped or created along with others, which no command names.

use super::super::{catalog, constraint, traces};
use super::notice::{EXTENSION, Notice, has_observer, tell, tell_unless_owner};
use pgrx::pg_sys;
use std::os::raw::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

type Hook =
    unsafe extern "C-unwind" fn(pg_sys::ObjectAccessType::Type, pg_sys::Oid, pg_sys::Oid, c_int, *mut c_void);

static NEXT: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// Installs the hook; once, while the library is loaded.
pub(super) fn install() {
    // SAFETY: nothing else runs while the library is loaded; the hook that was there is called by ours.
    unsafe {
        if let Some(next) = pg_sys::object_access_hook {
            NEXT.store(next as *mut (), Relaxed);
        }
        pg_sys::object_access_hook = Some(on_access);
    }
}

/// True if another library is notified of accesses, such as executions of functions (pgaudit).
pub fn is_access_watched() -> bool {
    // SAFETY: a plain pointer, of which only the address counts.
    let first = unsafe { pg_sys::object_access_hook }.map(|hook| hook as *const ());
    let ours = on_access as *const ();
    !NEXT.load(Relaxed).is_null() || first.is_some_and(|first| first != ours)
}

unsafe extern "C-unwind" fn on_access(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    part: c_int,
    arg: *mut c_void,
) {
    // SAFETY: calls the next hook with the same arguments.
    unsafe {
        let next = NEXT.load(Relaxed);
        if !next.is_null() {
            std::mem::transmute::<*mut (), Hook>(next)(access, class, object, part, arg);
        }
        match access {
            pg_sys::ObjectAccessType::OAT_FUNCTION_EXECUTE => traces::note_function(object),
            pg_sys::ObjectAccessType::OAT_DROP if class == pg_sys::ExtensionRelationId => on_drop(object),
            pg_sys::ObjectAccessType::OAT_POST_CREATE => {
                if class == pg_sys::TriggerRelationId && !is_internal(arg) {
                    on_trigger(object);
                }
                if class == constraint::CONSTRAINTS {
                    on_constraint(object);
                }
            }
            _ => {}
        }
    }
}

/// True if PostgreSQL itself creates the object, such as a foreign key's triggers.
unsafe fn is_internal(arg: *mut c_void) -> bool {
    // SAFETY: null, or the argument that the hook receives when an object is created.
    unsafe { !arg.is_null() && (*arg.cast::<pg_sys::ObjectAccessPostCreate>()).is_internal }
}

/// The extension may be dropped along with an object that it depends on. PostgreSQL has then checked only the rights on
/// that object.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_drop(extension: pg_sys::Oid) {
    if has_observer() && catalog::extension(EXTENSION) == Some(extension) {
        let is_owner = catalog::owns_extension(EXTENSION) == Some(true);
        tell(if is_owner { Notice::Drop } else { Notice::NotTheirs });
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_trigger(trigger: pg_sys::Oid) {
    let is_member = |relation| catalog::is_member(relation, EXTENSION);
    if constraint::relation_of_trigger(trigger).is_some_and(is_member) {
        tell_unless_owner(Notice::Trigger);
    }
}

/// PostgreSQL checks a foreign key, and runs the casts of its columns, with the rights of the owner of the referenced
/// table.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_constraint(oid: pg_sys::Oid) {
    let runs_users_code =
        |key: constraint::ForeignKey| key.has_users_type && catalog::is_member(key.referenced, EXTENSION);
    if constraint::foreign_key(oid).is_some_and(runs_users_code) {
        tell_unless_owner(Notice::ForeignKey);
    }
}
