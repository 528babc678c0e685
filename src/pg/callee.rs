//! The function that a query `select name($1)::type` calls, as resolved by PostgreSQL's parser.

use pgrx::pg_sys;
use pgrx::pg_sys::NodeTag::*;

/// The function below the casts of the query's first column; `None` if the name refers to a type.
///
/// # Safety
/// `query` is a query tree after parse analysis.
pub(super) unsafe fn of_query(query: *const pg_sys::Query) -> Option<pg_sys::Oid> {
    // SAFETY: the tag determines the type of each node; a list that is not null has a first element.
    unsafe {
        let columns = (*query).targetList;
        if columns.is_null() {
            return None;
        }
        let mut node = (*first(columns).cast::<pg_sys::TargetEntry>()).expr.cast::<pg_sys::Node>();
        while !node.is_null() {
            node = match (*node).type_ {
                T_FuncExpr => {
                    let call = &*node.cast::<pg_sys::FuncExpr>();
                    if call.funcformat == pg_sys::CoercionForm::COERCE_EXPLICIT_CALL {
                        return Some(call.funcid);
                    }
                    // A cast that is a function.
                    if call.args.is_null() {
                        return None;
                    }
                    first(call.args)
                }
                T_Aggref => return Some((*node.cast::<pg_sys::Aggref>()).aggfnoid),
                T_RelabelType => (*node.cast::<pg_sys::RelabelType>()).arg.cast(),
                T_CoerceViaIO => (*node.cast::<pg_sys::CoerceViaIO>()).arg.cast(),
                T_ArrayCoerceExpr => (*node.cast::<pg_sys::ArrayCoerceExpr>()).arg.cast(),
                T_ConvertRowtypeExpr => (*node.cast::<pg_sys::ConvertRowtypeExpr>()).arg.cast(),
                T_CoerceToDomain => (*node.cast::<pg_sys::CoerceToDomain>()).arg.cast(),
                T_CollateExpr => (*node.cast::<pg_sys::CollateExpr>()).arg.cast(),
                _ => return None,
            };
        }
        None
    }
}

unsafe fn first(list: *mut pg_sys::List) -> *mut pg_sys::Node {
    // SAFETY: a list of nodes that is not empty, on the caller's promise.
    unsafe { pg_sys::list_nth(list, 0).cast() }
}
