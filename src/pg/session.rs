//! The session in which handlers run, and which is cleaned between them.
//!
//! The worker is connected as `pg_errand.role`, and handlers run as that role with its settings. The worker's own
//! statements run as the extension's owner, with a `search_path` of schemas in which no user can create objects.

use super::majors::since_17;
use super::{guc, interrupt, traces};
use pgrx::pg_sys;
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
pub use traces::lasting as lasting_trace;

/// Settings for the worker's own statements, which handlers do not see. Sequential scans and sorts are disabled, since
/// a plan that was made while the queue was short is still used when it is long.
const OWN: &[(&CStr, &CStr)] = &[
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"enable_seqscan", c"off"),
    (c"enable_bitmapscan", c"off"),
    (c"enable_sort", c"off"),
    // The tasks of a key would be sorted out of those of all keys.
    (c"enable_incremental_sort", c"off"),
    (c"plan_cache_mode", c"force_generic_plan"),
    (c"lock_timeout", c"0"),
    // Where a sequential scan is the only choice, its disabled cost would make JIT compilation seem worthwhile.
    (c"jit", c"off"),
];

/// Settings that the worker depends on, whatever the configuration says. As in autovacuum.c (AutoVacWorkerMain), the
/// configuration cannot override these values.
const PINNED: &[(&CStr, &CStr)] = &[
    (c"default_transaction_isolation", c"read committed"),
    (c"default_transaction_read_only", c"off"),
    (c"default_transaction_deferrable", c"off"),
    (c"idle_in_transaction_session_timeout", c"0"),
    (c"idle_session_timeout", c"0"),
];

/// Settings with which an error or the duration of a handler would end the worker. Handlers cannot change them.
const FIXED: &[(&CStr, &CStr)] = &[(c"exit_on_error", c"off")];

/// Prepares the session of a worker that has just connected.
pub fn prepare() {
    let fixed = || FIXED.iter().chain(since_17::FATAL_LIMITS);
    for (name, value) in PINNED.iter().chain(fixed()) {
        // SAFETY: known settings and valid values.
        unsafe {
            pg_sys::SetConfigOption(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_OVERRIDE,
            );
        }
    }
    fixed().for_each(|(name, _)| guc::fix(name));
    traces::prepare();
    interrupt::hold_cancel();
}

/// Sets an option in the current [`settings_scope`].
fn set_option(name: &CStr, value: &CStr) {
    set_option_as(pg_sys::GucContext::PGC_USERSET, name, value);
}

fn set_option_as(context: pg_sys::GucContext::Type, name: &CStr, value: &CStr) {
    // SAFETY: names and values are C strings that PostgreSQL copies.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            context,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
    }
}

/// Runs `body`, a statement of the worker's own, with the privileges of `owner` and the worker's own settings.
///
/// If `body` raises an error, the end of the (sub)transaction restores user and settings.
pub fn as_owner<R>(owner: pg_sys::Oid, body: impl FnOnce() -> R) -> R {
    with_rights_of(owner, || with_own_settings(body))
}

/// Runs `body`, a statement for the current user, as a SECURITY DEFINER function with a pinned `search_path` does.
pub fn as_definer<R>(owner: pg_sys::Oid, body: impl FnOnce() -> R) -> R {
    with_rights_of(owner, || {
        settings_scope(|| {
            set_option(OWN[0].0, OWN[0].1);
            body()
        })
    })
}

/// Runs `body` with the privileges of a role.
pub fn with_rights_of<R>(owner: pg_sys::Oid, body: impl FnOnce() -> R) -> R {
    let mut user = pg_sys::InvalidOid;
    let mut context = 0;
    // SAFETY: as SECURITY DEFINER functions do it (fmgr.c, fmgr_security_definer).
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        pg_sys::SetUserIdAndSecContext(owner, context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32);
        let value = body();
        pg_sys::SetUserIdAndSecContext(user, context);
        value
    }
}

/// Whether the worker's own settings are in effect.
static OWN_IN_FORCE: AtomicBool = AtomicBool::new(false);

/// Notes that the worker's own settings are no longer in effect, also after an ERROR.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        OWN_IN_FORCE.store(false, Relaxed);
    }
}

/// Runs `body`, a statement of the worker's own, with the worker's own settings.
pub fn with_own_settings<R>(body: impl FnOnce() -> R) -> R {
    if OWN_IN_FORCE.swap(true, Relaxed) {
        return body();
    }
    let _leave = Leave;
    settings_scope(|| {
        for (name, value) in OWN {
            set_option(name, value);
        }
        body()
    })
}

/// Runs `body`, a statement of the worker's own, with `session_replication_role = replica`, so that only triggers and
/// rules apply that are enabled ALWAYS or REPLICA.
pub fn without_triggers<R>(body: impl FnOnce() -> R) -> R {
    settings_scope(|| {
        set_option_as(pg_sys::GucContext::PGC_SUSET, c"session_replication_role", c"replica");
        body()
    })
}

/// Runs `body` and restores all settings that it changes, including those changed by a plain SET or SET ROLE.
fn settings_scope<R>(body: impl FnOnce() -> R) -> R {
    // SAFETY: GUC nest levels as fmgr_security_definer uses them for a function's SET clause; closed as
    // at an abort.
    unsafe {
        let level = pg_sys::NewGUCNestLevel();
        let value = body();
        pg_sys::AtEOXact_GUC(false, level);
        value
    }
}

/// Runs a handler as the session's role, with the role's own settings, interruptible, and restores all settings that it
/// changes.
///
/// It is invoked in a subtransaction, whose abort restores them if `body` raises an error.
pub fn handler_scope<R>(body: impl FnOnce() -> R) -> R {
    settings_scope(|| {
        interrupt::allow_cancel();
        let value = body();
        interrupt::hold_cancel();
        value
    })
}

/// Removes what a handler has left behind and its subtransaction does not undo.
pub fn forget_handler() {
    traces::remove();
}

/// Removes what a task's handlers have left in the session: cursors, prepared statements, temporary objects, advisory
/// locks, cached sequence values, signal handlers and connections.
///
/// This is what DISCARD ALL does (commands/discard.c), but within the task's transaction, and it keeps the worker's
/// plans.
pub fn discard_leftovers() {
    interrupt::restore_handlers();
    // SAFETY: within a transaction, no portal or query is active.
    unsafe {
        pg_sys::PortalHashTableDeleteAll();
        pg_sys::DropAllPreparedStatements();
        pg_sys::LockReleaseSession(pg_sys::USER_LOCKMETHOD as _);
        pg_sys::ResetTempTableNamespace();
        pg_sys::ffi::pg_guard_ffi_boundary(|| ResetSequenceCaches());
    }
    traces::remove_rest();
}

unsafe extern "C-unwind" {
    // commands/sequence.h, not among pgrx's bindings
    fn ResetSequenceCaches();
}
