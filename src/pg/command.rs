//! SQL commands that concern the workers of a database, seen before they run (ProcessUtility).

use super::{backend, catalog, traces};
use pgrx::pg_sys;
use std::ffi::CStr;
use std::os::raw::c_char;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// What a command means for workers.
pub enum Notice {
    /// It cannot run while workers are connected to this database.
    Clear(pg_sys::Oid),
    /// It brings the extension to this database.
    Create,
    /// It removes the extension from this database, which needs it to be clear.
    Drop,
    /// It commits what another session has prepared.
    CommitPrepared,
    /// Databases, roles or their rights may be others after it.
    Changes,
    /// Settings stored for databases or roles may be others after it.
    Settings,
    /// Functions may belong to an extension after it, or to none.
    Members,
    /// It changes the role of this session: its password, its settings, its members.
    OwnRole,
    /// It changes default privileges.
    FutureRights,
    /// It has enabled or disabled all triggers of one of the extension's tables.
    AllTriggers,
    /// A role that does not own the extension has created a trigger on one of its tables.
    Trigger,
    /// A column of a user's type refers to a table of the extension, by a role that does not own the extension.
    ForeignKey,
    /// It would remove the extension, which is somebody else's, with something that it depends on.
    NotTheirs,
}

pub(super) type Hook = unsafe extern "C-unwind" fn(
    *mut pg_sys::PlannedStmt,
    *const c_char,
    bool,
    pg_sys::ProcessUtilityContext::Type,
    pg_sys::ParamListInfo,
    *mut pg_sys::QueryEnvironment,
    *mut pg_sys::DestReceiver,
    *mut pg_sys::QueryCompletion,
);

static OBSERVER: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());
static NEXT: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

static NEXT_ACCESS: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

type AccessHook = unsafe extern "C-unwind" fn(
    pg_sys::ObjectAccessType::Type,
    pg_sys::Oid,
    pg_sys::Oid,
    std::os::raw::c_int,
    *mut std::os::raw::c_void,
);

/// True if another library is told of what is accessed, of functions that are run for instance (pgaudit).
pub fn is_access_watched() -> bool {
    // SAFETY: a plain pointer, of which only the address counts.
    let first = unsafe { pg_sys::object_access_hook }.map(|hook| hook as *const ());
    let ours = on_access as *const ();
    !NEXT_ACCESS.load(Relaxed).is_null() || first.is_some_and(|first| first != ours)
}

/// The hook of object_access: the extension may be dropped with something that it depends on, and
/// PostgreSQL asks for rights on that alone.
unsafe extern "C-unwind" fn on_access(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    part: std::os::raw::c_int,
    arg: *mut std::os::raw::c_void,
) {
    // SAFETY: calls on with the same arguments.
    unsafe {
        let next = NEXT_ACCESS.load(Relaxed);
        if !next.is_null() {
            std::mem::transmute::<*mut (), AccessHook>(next)(access, class, object, part, arg);
        }
        if access == pg_sys::ObjectAccessType::OAT_FUNCTION_EXECUTE {
            traces::note_function(object);
        }
        if access == pg_sys::ObjectAccessType::OAT_DROP && class == pg_sys::ExtensionRelationId {
            tell_of_drop(object);
        }
        if access == pg_sys::ObjectAccessType::OAT_POST_CREATE
            && class == pg_sys::TriggerRelationId
            && !is_internal(arg)
        {
            tell_of_trigger(object);
        }
        if access == pg_sys::ObjectAccessType::OAT_POST_CREATE && class == catalog::CONSTRAINTS {
            tell_of_foreign_key(object);
        }
    }
}

/// True for an object that PostgreSQL creates by itself, such as a foreign key's triggers.
unsafe fn is_internal(arg: *mut std::os::raw::c_void) -> bool {
    // SAFETY: what the hook is given when an object was created, if anything.
    unsafe { !arg.is_null() && (*arg.cast::<pg_sys::ObjectAccessPostCreate>()).is_internal }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn tell_of_trigger(trigger: pg_sys::Oid) {
    let is_ours = |relation| catalog::is_member(relation, OURS);
    if catalog::relation_of_trigger(trigger).is_some_and(is_ours) {
        tell_unless_owner(Notice::Trigger);
    }
}

/// PostgreSQL checks a foreign key with the rights of the owner of the table that it refers to, the casts of its
/// columns included.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn tell_of_foreign_key(constraint: pg_sys::Oid) {
    let runs_users_code =
        |key: catalog::ForeignKey| key.has_users_type && catalog::is_member(key.referenced, OURS);
    if catalog::foreign_key(constraint).is_some_and(runs_users_code) {
        tell_unless_owner(Notice::ForeignKey);
    }
}

/// Tells the observer of what only the owner of the extension may do, if another role does it.
fn tell_unless_owner(notice: Notice) {
    if catalog::owns_extension(OURS) == Some(false) {
        tell(notice);
    }
}

fn tell(notice: Notice) {
    // SAFETY: null, or the function that was stored there.
    unsafe {
        let observer = OBSERVER.load(Relaxed);
        if !observer.is_null() {
            std::mem::transmute::<*mut (), fn(Notice)>(observer)(notice);
        }
    }
}

/// The table of which a command enables or disables all triggers (`pg_restore --disable-triggers` does); none: 0.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn table_of_all_triggers(node: *mut pg_sys::Node) -> pg_sys::Oid {
    use pg_sys::AlterTableType::{
        AT_DisableTrigAll, AT_DisableTrigUser, AT_EnableTrigAll, AT_EnableTrigUser,
    };
    // SAFETY: the tag tells the type of the node; the list holds AlterTableCmd nodes.
    unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_AlterTableStmt {
            return pg_sys::InvalidOid;
        }
        let stmt = &*node.cast::<pg_sys::AlterTableStmt>();
        let length = if stmt.cmds.is_null() { 0 } else { (*stmt.cmds).length };
        let is_of_all = |i| {
            let command = pg_sys::list_nth(stmt.cmds, i).cast::<pg_sys::AlterTableCmd>();
            let all = [AT_EnableTrigAll, AT_EnableTrigUser, AT_DisableTrigAll, AT_DisableTrigUser];
            all.contains(&(*command).subtype)
        };
        if !(0..length).any(is_of_all) {
            return pg_sys::InvalidOid;
        }
        // Without a lock: the command itself takes it.
        let missing_ok = pg_sys::RVROption::RVR_MISSING_OK;
        let table = pg_sys::RangeVarGetRelidExtended(
            stmt.relation,
            pg_sys::NoLock as _,
            missing_ok,
            None,
            std::ptr::null_mut(),
        );
        if catalog::is_member(table, OURS) { table } else { pg_sys::InvalidOid }
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn tell_of_all_triggers() {
    // What the command has changed is seen.
    // SAFETY: within its transaction.
    unsafe { pg_sys::CommandCounterIncrement() };
    tell(Notice::AllTriggers);
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn tell_of_drop(extension: pg_sys::Oid) {
    // SAFETY: a catalog look-up; the observer was stored as this very type.
    unsafe {
        let observer = OBSERVER.load(Relaxed);
        if !observer.is_null() && pg_sys::get_extension_oid(OURS.as_ptr(), true) == extension {
            let owns = catalog::owns_extension(OURS) == Some(true);
            let notice = if owns { Notice::Drop } else { Notice::NotTheirs };
            std::mem::transmute::<*mut (), fn(Notice)>(observer)(notice);
        }
    }
}

/// Calls `observer` before each command that concerns workers; it may raise. To be called once per library load.
pub fn observe(observer: fn(Notice)) {
    OBSERVER.store(observer as *mut (), Relaxed);
    // SAFETY: while the library is loaded; keeps the hook that was there.
    unsafe {
        if let Some(next) = pg_sys::ProcessUtility_hook {
            NEXT.store(next as *mut (), Relaxed);
        }
        pg_sys::ProcessUtility_hook = Some(on_command);
        if let Some(next) = pg_sys::object_access_hook {
            NEXT_ACCESS.store(next as *mut (), Relaxed);
        }
        pg_sys::object_access_hook = Some(on_access);
    }
}

unsafe extern "C-unwind" {
    // tcop/utility.h, without pgrx's error boundary
    pub(super) fn standard_ProcessUtility(
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

/// The hook. An error of the command itself passes through it untouched: nothing in this frame
/// needs to be dropped, and no boundary turns the error into a panic and back.
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
    // SAFETY: calls on with the same arguments, to the hook that was there or to the default.
    unsafe {
        tell_observer((*statement).utilityStmt);
        let table = table_of_all_triggers((*statement).utilityStmt);
        let next = NEXT.load(Relaxed);
        let next: Hook =
            if next.is_null() { standard_ProcessUtility } else { std::mem::transmute::<*mut (), Hook>(next) };
        next(statement, text, read_only_tree, context, params, environment, destination, completion);
        if table != pg_sys::InvalidOid {
            tell_of_all_triggers();
        }
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn tell_observer(node: *mut pg_sys::Node) {
    // SAFETY: the parse tree of a utility statement lives through the call; the observer was stored as this very type.
    unsafe {
        let observer = OBSERVER.load(Relaxed);
        if let (false, Some(notice)) = (observer.is_null(), notice_of(node)) {
            std::mem::transmute::<*mut (), fn(Notice)>(observer)(notice);
        }
    }
}

/// What `node` means for workers. Rights are checked first: whoever may not run the command may
/// not stop anyone's workers by trying.
unsafe fn notice_of(node: *mut pg_sys::Node) -> Option<Notice> {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag tells the type of the node.
    unsafe {
        match (*node).type_ {
            T_CreateExtensionStmt => {
                let stmt = &*node.cast::<pg_sys::CreateExtensionStmt>();
                is_ours(stmt.extname).then_some(Notice::Create)
            }
            T_AlterExtensionStmt => {
                let stmt = &*node.cast::<pg_sys::AlterExtensionStmt>();
                (is_ours(stmt.extname) && pg_sys::superuser()).then(|| Notice::Clear(backend::database()))
            }
            T_DropStmt => {
                let stmt = &*node.cast::<pg_sys::DropStmt>();
                let cascades = stmt.behavior == pg_sys::DropBehavior::DROP_CASCADE;
                match stmt.removeType {
                    pg_sys::ObjectType::OBJECT_EXTENSION if names(stmt.objects).any(|name| is_ours(name)) => {
                        (catalog::owns_extension(OURS) == Some(true)).then_some(Notice::Drop)
                    }
                    // It takes functions of the extension along, and so the extension.
                    pg_sys::ObjectType::OBJECT_SCHEMA
                        if cascades
                            && names(stmt.objects).any(|name| CStr::from_ptr(name) == c"internal") =>
                    {
                        match catalog::owns_extension(OURS)? {
                            true => Some(Notice::Drop),
                            false => Some(Notice::NotTheirs),
                        }
                    }
                    _ => None,
                }
            }
            T_TransactionStmt => {
                let stmt = &*node.cast::<pg_sys::TransactionStmt>();
                let commits = stmt.kind == pg_sys::TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED;
                commits.then_some(Notice::CommitPrepared)
            }
            T_DropOwnedStmt => {
                let stmt = &*node.cast::<pg_sys::DropOwnedStmt>();
                own_the_queue(stmt.roles).then_some(Notice::Drop)
            }
            T_ReassignOwnedStmt => {
                let stmt = &*node.cast::<pg_sys::ReassignOwnedStmt>();
                own_the_queue(stmt.roles).then(|| Notice::Clear(backend::database()))
            }
            T_LoadStmt => {
                traces::note_load();
                None
            }
            T_VariableSetStmt => {
                traces::note_setting();
                None
            }
            T_AlterExtensionContentsStmt => Some(Notice::Members),
            T_DropdbStmt => clear_owned((*node.cast::<pg_sys::DropdbStmt>()).dbname),
            T_RenameStmt => {
                let stmt = &*node.cast::<pg_sys::RenameStmt>();
                match stmt.renameType {
                    pg_sys::ObjectType::OBJECT_DATABASE => clear_owned(stmt.subname),
                    pg_sys::ObjectType::OBJECT_ROLE => Some(Notice::Settings),
                    _ => None,
                }
            }
            T_AlterDatabaseStmt => {
                let stmt = &*node.cast::<pg_sys::AlterDatabaseStmt>();
                if option(stmt.options, c"tablespace").is_some() {
                    clear_owned(stmt.dbname)
                } else {
                    Some(Notice::Changes)
                }
            }
            T_CreatedbStmt => {
                let stmt = &*node.cast::<pg_sys::CreatedbStmt>();
                // TEMPLATE DEFAULT has no argument.
                option(stmt.options, c"template")
                    .filter(|element| !(**element).arg.is_null())
                    .map_or(Some(Notice::Changes), |element| clear_template(pg_sys::defGetString(element)))
            }
            T_AlterRoleSetStmt if is_own_role((*node.cast::<pg_sys::AlterRoleSetStmt>()).role) => {
                Some(Notice::OwnRole)
            }
            T_AlterRoleStmt if is_own_role((*node.cast::<pg_sys::AlterRoleStmt>()).role) => {
                Some(Notice::OwnRole)
            }
            T_GrantRoleStmt if grants_own_role(&*node.cast::<pg_sys::GrantRoleStmt>()) => {
                Some(Notice::OwnRole)
            }
            T_CreateRoleStmt if joins_own_role((*node.cast::<pg_sys::CreateRoleStmt>()).options) => {
                Some(Notice::OwnRole)
            }
            T_AlterDefaultPrivilegesStmt => Some(Notice::FutureRights),
            T_AlterDatabaseSetStmt | T_AlterRoleSetStmt | T_DropRoleStmt => Some(Notice::Settings),
            T_AlterRoleStmt | T_CreateRoleStmt | T_GrantStmt | T_GrantRoleStmt => Some(Notice::Changes),
            _ => None,
        }
    }
}

/// The extension.
const OURS: &CStr = c"pg_errand";

unsafe fn is_ours(name: *const c_char) -> bool {
    // SAFETY: a terminated string of the parse tree.
    unsafe { !name.is_null() && CStr::from_ptr(name) == OURS }
}

unsafe fn is_own_role(role: *const pg_sys::RoleSpec) -> bool {
    // SAFETY: a node of the parse tree, null for ALL.
    unsafe {
        !role.is_null()
            && (*role).roletype != pg_sys::RoleSpecType::ROLESPEC_PUBLIC
            && pg_sys::get_rolespec_oid(role, true) == pg_sys::GetSessionUserId()
    }
}

/// Whether members are added to (or removed from) the session's role.
unsafe fn grants_own_role(stmt: &pg_sys::GrantRoleStmt) -> bool {
    // SAFETY: a list of AccessPriv nodes.
    unsafe {
        let list = stmt.granted_roles;
        let length = if list.is_null() { 0 } else { (*list).length };
        (0..length).map(|i| pg_sys::list_nth(list, i).cast::<pg_sys::AccessPriv>()).any(|role| {
            !(*role).priv_name.is_null()
                && pg_sys::get_role_oid((*role).priv_name, true) == pg_sys::GetSessionUserId()
        })
    }
}

/// Whether a new role becomes a member of the session's role.
unsafe fn joins_own_role(options: *mut pg_sys::List) -> bool {
    // SAFETY: the option IN ROLE has a list of RoleSpec nodes.
    unsafe {
        option(options, c"addroleto").is_some_and(|element| {
            let roles = (*element).arg.cast::<pg_sys::List>();
            let length = if roles.is_null() { 0 } else { (*roles).length };
            (0..length).any(|i| is_own_role(pg_sys::list_nth(roles, i).cast()))
        })
    }
}

/// True if one of these roles owns the queue, and the current user may act as all of them.
unsafe fn own_the_queue(roles: *mut pg_sys::List) -> bool {
    // SAFETY: RoleSpec nodes; a name that is no role's is refused here as it is by the command.
    let ids: Vec<pg_sys::Oid> = unsafe {
        let ids = pg_sys::roleSpecsToIds(roles);
        (0..(*ids).length).map(|i| pg_sys::list_nth_oid(ids, i)).collect()
    };
    let owner = catalog::owner_of(c"queues", c"task");
    owner.is_some_and(|owner| ids.contains(&owner)) && ids.iter().all(|id| catalog::has_rights_of(*id))
}

unsafe fn clear_owned(name: *const c_char) -> Option<Notice> {
    // SAFETY: as above.
    let oid = catalog::database_oid(unsafe { CStr::from_ptr(name) })?;
    catalog::owns_database(oid).then_some(Notice::Clear(oid))
}

/// The source of CREATE DATABASE: its owner may copy it (and anybody a template, whose workers
/// don't exist).
unsafe fn clear_template(name: *const c_char) -> Option<Notice> {
    // SAFETY: as above.
    unsafe { clear_owned(name) }.or(Some(Notice::Changes))
}

unsafe fn names(list: *mut pg_sys::List) -> impl Iterator<Item = *const c_char> {
    // SAFETY: DROP EXTENSION lists its names as String nodes.
    let length = unsafe { if list.is_null() { 0 } else { (*list).length } };
    (0..length).map(move |i| unsafe { string_of(pg_sys::list_nth(list, i).cast()) })
}

#[cfg(feature = "pg14")]
unsafe fn string_of(node: *mut pg_sys::Value) -> *const c_char {
    // SAFETY: a String node.
    unsafe { (*node).val.str_ }
}

#[cfg(not(feature = "pg14"))]
unsafe fn string_of(node: *mut pg_sys::String) -> *const c_char {
    // SAFETY: a String node.
    unsafe { (*node).sval }
}

unsafe fn option(list: *mut pg_sys::List, name: &CStr) -> Option<*mut pg_sys::DefElem> {
    // SAFETY: option lists hold DefElem nodes.
    unsafe {
        let length = if list.is_null() { 0 } else { (*list).length };
        (0..length)
            .map(|i| pg_sys::list_nth(list, i).cast::<pg_sys::DefElem>())
            .find(|element| CStr::from_ptr((**element).defname) == name)
    }
}
