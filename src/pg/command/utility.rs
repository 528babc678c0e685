//! The hook ProcessUtility_hook, which receives commands before they run.

use super::super::{catalog, placeholder, traces};
use super::notice::{self, EXTENSION, Notice, tell};
use super::{meaning, tree};
use pgrx::pg_sys;
use std::os::raw::c_char;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

pub type Hook = unsafe extern "C-unwind" fn(
    *mut pg_sys::PlannedStmt,
    *const c_char,
    bool,
    pg_sys::ProcessUtilityContext::Type,
    pg_sys::ParamListInfo,
    *mut pg_sys::QueryEnvironment,
    *mut pg_sys::DestReceiver,
    *mut pg_sys::QueryCompletion,
);

static NEXT: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// Installs the hook; once, while the library is loaded.
pub(super) fn install() {
    // SAFETY: nothing else runs while the library is loaded; the hook that was there is called by ours.
    unsafe {
        if let Some(next) = pg_sys::ProcessUtility_hook {
            NEXT.store(next as *mut (), Relaxed);
        }
        pg_sys::ProcessUtility_hook = Some(on_command);
    }
}

unsafe extern "C-unwind" {
    // tcop/utility.h, without pgrx's error boundary
    pub fn standard_ProcessUtility(
        statement: *mut pg_sys::PlannedStmt,
        text: *const c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        params: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        destination: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
}

/// An error of the command itself passes through this frame untouched: nothing in it needs to be dropped, and no
/// boundary turns the error into a panic and back.
#[allow(clippy::too_many_arguments)]
unsafe extern "C-unwind" fn on_command(
    statement: *mut pg_sys::PlannedStmt,
    text: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: calls the next hook, or PostgreSQL's own function, with the same arguments.
    unsafe {
        before((*statement).utilityStmt);
        let table = table_of_all_triggers((*statement).utilityStmt);
        let next = NEXT.load(Relaxed);
        let next: Hook =
            if next.is_null() { standard_ProcessUtility } else { std::mem::transmute::<*mut (), Hook>(next) };
        next(statement, text, read_only_tree, context, params, environment, destination, completion);
        if table != pg_sys::InvalidOid {
            after_all_triggers();
        }
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn before(node: *mut pg_sys::Node) {
    // SAFETY: the parse tree of a utility statement lives through the call.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_LoadStmt => traces::note_load(),
            pg_sys::NodeTag::T_VariableSetStmt => placeholder::note_setting(),
            _ if notice::has_observer() => meaning::of(node).into_iter().for_each(tell),
            _ => {}
        }
    }
}

/// The table of the extension all of whose triggers the command enables or disables (as `pg_restore
/// --disable-triggers` does), or `InvalidOid`.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn table_of_all_triggers(node: *mut pg_sys::Node) -> pg_sys::Oid {
    use pg_sys::AlterTableType::{
        AT_DisableTrigAll, AT_DisableTrigUser, AT_EnableTrigAll, AT_EnableTrigUser,
    };
    // SAFETY: the tag determines the type of the node; the list holds AlterTableCmd nodes.
    unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_AlterTableStmt {
            return pg_sys::InvalidOid;
        }
        let stmt = &*node.cast::<pg_sys::AlterTableStmt>();
        let all = [AT_EnableTrigAll, AT_EnableTrigUser, AT_DisableTrigAll, AT_DisableTrigUser];
        let is_of_all = |command: *mut pg_sys::AlterTableCmd| all.contains(&(*command).subtype);
        if !tree::nodes(stmt.cmds).any(is_of_all) {
            return pg_sys::InvalidOid;
        }
        // No lock is taken, since the command takes it.
        let table = pg_sys::RangeVarGetRelidExtended(
            stmt.relation,
            pg_sys::NoLock as _,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            std::ptr::null_mut(),
        );
        if catalog::is_member(table, EXTENSION) { table } else { pg_sys::InvalidOid }
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn after_all_triggers() {
    // Makes the command's changes visible.
    // SAFETY: within the transaction of the command.
    unsafe { pg_sys::CommandCounterIncrement() };
    tell(Notice::AllTriggers);
}
