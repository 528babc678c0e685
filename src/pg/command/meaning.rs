//! Determines from the parse tree of a command what it means for workers.

use super::super::{backend, catalog};
use super::notice::{EXTENSION, Notice};
use super::tree;
use pgrx::pg_sys;
use std::ffi::CStr;
use std::os::raw::c_char;

/// What the command means; `None` if it does not concern workers. Rights are checked first, since a role that may not
/// run a command must not be able to stop workers by trying.
///
/// # Safety
/// `node` is the parse tree of a utility statement.
pub(super) unsafe fn of(node: *mut pg_sys::Node) -> Option<Notice> {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag determines the type of the node.
    unsafe {
        match (*node).type_ {
            T_CreateExtensionStmt => {
                let stmt = &*node.cast::<pg_sys::CreateExtensionStmt>();
                is_ours(stmt.extname).then_some(Notice::Create)
            }
            T_AlterExtensionStmt => {
                let stmt = &*node.cast::<pg_sys::AlterExtensionStmt>();
                (is_ours(stmt.extname) && pg_sys::superuser()).then(|| Notice::Quiesce(backend::database()))
            }
            T_DropStmt => {
                let stmt = &*node.cast::<pg_sys::DropStmt>();
                let cascades = stmt.behavior == pg_sys::DropBehavior::DROP_CASCADE;
                match stmt.removeType {
                    pg_sys::ObjectType::OBJECT_EXTENSION
                        if tree::names(stmt.objects).any(|name| is_ours(name)) =>
                    {
                        (catalog::owns_extension(EXTENSION) == Some(true)).then_some(Notice::Drop)
                    }
                    // The schema holds a function of the extension, so the extension is dropped with it.
                    pg_sys::ObjectType::OBJECT_SCHEMA
                        if cascades
                            && tree::names(stmt.objects).any(|name| CStr::from_ptr(name) == c"internal") =>
                    {
                        match catalog::owns_extension(EXTENSION)? {
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
                own_the_queue(stmt.roles).then(|| Notice::Quiesce(backend::database()))
            }
            T_AlterExtensionContentsStmt => Some(Notice::Members),
            T_DropdbStmt => quiesce_owned((*node.cast::<pg_sys::DropdbStmt>()).dbname),
            T_RenameStmt => {
                let stmt = &*node.cast::<pg_sys::RenameStmt>();
                match stmt.renameType {
                    pg_sys::ObjectType::OBJECT_DATABASE => quiesce_owned(stmt.subname),
                    pg_sys::ObjectType::OBJECT_ROLE => Some(Notice::Settings),
                    _ => None,
                }
            }
            T_AlterDatabaseStmt => {
                let stmt = &*node.cast::<pg_sys::AlterDatabaseStmt>();
                if tree::option(stmt.options, c"tablespace").is_some() {
                    quiesce_owned(stmt.dbname)
                } else {
                    Some(Notice::Changes)
                }
            }
            T_CreatedbStmt => {
                let stmt = &*node.cast::<pg_sys::CreatedbStmt>();
                // TEMPLATE DEFAULT is an option without an argument.
                tree::option(stmt.options, c"template")
                    .filter(|element| !(**element).arg.is_null())
                    .map_or(Some(Notice::Changes), |element| quiesce_template(pg_sys::defGetString(element)))
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

unsafe fn is_ours(name: *const c_char) -> bool {
    // SAFETY: null, or a terminated string of the parse tree.
    unsafe { !name.is_null() && CStr::from_ptr(name) == EXTENSION }
}

unsafe fn is_own_role(role: *const pg_sys::RoleSpec) -> bool {
    // SAFETY: a node of the parse tree, null for ALL.
    unsafe {
        !role.is_null()
            && (*role).roletype != pg_sys::RoleSpecType::ROLESPEC_PUBLIC
            && pg_sys::get_rolespec_oid(role, true) == pg_sys::GetSessionUserId()
    }
}

/// True if the command adds members to the session's role or removes them.
unsafe fn grants_own_role(stmt: &pg_sys::GrantRoleStmt) -> bool {
    // SAFETY: a list of AccessPriv nodes.
    unsafe {
        tree::nodes(stmt.granted_roles).any(|role: *mut pg_sys::AccessPriv| {
            !(*role).priv_name.is_null()
                && pg_sys::get_role_oid((*role).priv_name, true) == pg_sys::GetSessionUserId()
        })
    }
}

/// True if a new role becomes a member of the session's role.
unsafe fn joins_own_role(options: *mut pg_sys::List) -> bool {
    // SAFETY: the option IN ROLE has a list of RoleSpec nodes.
    unsafe {
        tree::option(options, c"addroleto").is_some_and(|element| {
            tree::nodes((*element).arg.cast()).any(|role: *mut pg_sys::RoleSpec| is_own_role(role))
        })
    }
}

/// True if one of these roles owns the queue, and the current user may act as all of them.
unsafe fn own_the_queue(roles: *mut pg_sys::List) -> bool {
    // SAFETY: RoleSpec nodes; a name that no role has is refused here as it is by the command.
    let ids: Vec<pg_sys::Oid> = unsafe {
        let ids = pg_sys::roleSpecsToIds(roles);
        (0..(*ids).length).map(|i| pg_sys::list_nth_oid(ids, i)).collect()
    };
    let owner = catalog::owner_of(c"queues", c"task");
    owner.is_some_and(|owner| ids.contains(&owner)) && ids.iter().all(|id| catalog::has_rights_of(*id))
}

/// The meaning of a command that only the owner of the database may run.
unsafe fn quiesce_owned(name: *const c_char) -> Option<Notice> {
    // SAFETY: a terminated string of the parse tree.
    let oid = catalog::database_oid(unsafe { CStr::from_ptr(name) })?;
    catalog::owns_database(oid).then_some(Notice::Quiesce(oid))
}

/// The meaning of CREATE DATABASE from this database. Its owner may copy it; any role may copy a template, which has no
/// workers.
unsafe fn quiesce_template(name: *const c_char) -> Option<Notice> {
    // SAFETY: as for `quiesce_owned`.
    unsafe { quiesce_owned(name) }.or(Some(Notice::Changes))
}
