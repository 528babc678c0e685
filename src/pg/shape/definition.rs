//! Definitions of columns as text, whatever the `search_path` is.

use super::facts::Attribute;
use pgrx::pg_sys;
use pgrx::pg_sys::NodeTag::{T_Const, T_FuncExpr};
use std::ffi::{CStr, CString};

/// The types that definitions name.
const TYPES: &[(pg_sys::Oid, &str)] = &[
    (pg_sys::BOOLOID, "boolean"),
    (pg_sys::INT2OID, "smallint"),
    (pg_sys::INT4OID, "integer"),
    (pg_sys::INT8OID, "bigint"),
    (pg_sys::JSONBOID, "jsonb"),
    (pg_sys::TEXTOID, "text"),
    (pg_sys::TIMESTAMPTZOID, "timestamp with time zone"),
];

/// The definition of a column: its name, its type, `not null`, and if `with_default` its default and `identity`. `None` if
/// it has a type or a default that no definition names.
pub fn definition(attribute: &Attribute, with_default: bool) -> Option<String> {
    let (_, type_name) = TYPES.iter().find(|(oid, _)| *oid == attribute.value_type)?;
    if attribute.modifier != -1 {
        return None;
    }
    let mut definition = format!("{} {type_name}", attribute.name);
    if attribute.is_not_null {
        definition.push_str(" not null");
    }
    if with_default && attribute.has_default {
        definition.push_str(" default ");
        definition.push_str(&expression(attribute.default.as_ref()?)?);
    }
    if with_default && attribute.is_identity {
        definition.push_str(" identity");
    }
    Some(definition)
}

/// True if a column is not null, or gets a value other than null, in a row that is inserted without a value for it.
pub fn has_value(attribute: &Attribute) -> bool {
    // SAFETY: catalog look-ups.
    let is_of_type = || unsafe {
        pg_sys::get_typtype(attribute.value_type) as u8 == pg_sys::TYPTYPE_DOMAIN
            || !pg_sys::get_typdefault(attribute.value_type).is_null()
    };
    attribute.is_not_null || attribute.has_default || attribute.is_identity || is_of_type()
}

/// A function's name, with its schema unless that is `pg_catalog`; `None` if it does not exist.
pub fn function_name(function: pg_sys::Oid) -> Option<String> {
    // SAFETY: catalog look-ups; the names are copied.
    unsafe {
        let name = text(pg_sys::get_func_name(function))?;
        let schema = text(pg_sys::get_namespace_name(pg_sys::get_func_namespace(function)))?;
        Some(if schema == "pg_catalog" { name } else { format!("{schema}.{name}") })
    }
}

/// # Safety
/// A string, or null.
unsafe fn text(name: *const std::os::raw::c_char) -> Option<String> {
    // SAFETY: as the caller promises.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}

/// An integer, a boolean or a call without arguments; `None` for another expression.
fn expression(stored: &CString) -> Option<String> {
    // SAFETY: an expression from the catalogs; the tag determines the type.
    unsafe {
        let node = pg_sys::stringToNode(stored.as_ptr()).cast::<pg_sys::Node>();
        match (*node).type_ {
            T_Const => {
                let constant = &*node.cast::<pg_sys::Const>();
                match constant.consttype {
                    _ if constant.constisnull => None,
                    pg_sys::INT4OID => Some((constant.constvalue.value() as i32).to_string()),
                    pg_sys::BOOLOID => Some((constant.constvalue.value() as u8 != 0).to_string()),
                    _ => None,
                }
            }
            T_FuncExpr => {
                let call = &*node.cast::<pg_sys::FuncExpr>();
                let name = call.args.is_null().then(|| function_name(call.funcid))??;
                Some(format!("{name}()"))
            }
            _ => None,
        }
    }
}
