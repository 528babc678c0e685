//! What the relation cache says about a table. It is what the executor uses, and as current.

use super::condition::Condition;
use crate::pg::majors::{since_17, since_18};
use pgrx::pg_sys;
use std::ffi::{CStr, CString};

/// A table. Everything is copied, since the entry of the relation cache may be rebuilt by any look-up in the catalogs.
pub struct Facts {
    pub relation: pg_sys::Oid,
    /// True of an ordinary heap table without rules, check constraints, inheritance, row-level security that applies to the
    /// owner, and a replica identity other than the primary key or the full row.
    pub is_simple: bool,
    pub attributes: Vec<Attribute>,
    pub triggers: Vec<Trigger>,
    pub indexes: Vec<Index>,
}

/// A column that was not dropped.
pub struct Attribute {
    pub number: i16,
    pub name: String,
    pub value_type: pg_sys::Oid,
    pub modifier: i32,
    pub is_not_null: bool,
    pub is_identity: bool,
    pub is_generated: bool,
    pub has_default: bool,
    /// The expression of the default, as it is stored.
    pub default: Option<CString>,
}

pub struct Trigger {
    pub function: pg_sys::Oid,
    /// The `TRIGGER_TYPE` bits of catalog/pg_trigger.h.
    pub kind: u32,
    pub is_disabled: bool,
    pub is_always_enabled: bool,
    pub is_conditional: bool,
    /// The columns of an `update of` trigger.
    pub columns: Vec<i16>,
}

/// An index that inserts have to heed.
pub struct Index {
    pub oid: pg_sys::Oid,
    pub is_primary: bool,
    pub is_unique: bool,
    pub is_exclusion: bool,
    pub is_immediate: bool,
    pub is_ready: bool,
    pub is_valid: bool,
    /// True if a transaction with an old snapshot may not use it.
    pub checks_xmin: bool,
    /// True of a btree whose operators are PostgreSQL's own.
    pub is_built_in_btree: bool,
    /// The attribute numbers; 0 for an expression.
    pub columns: Vec<i16>,
    pub predicate: Condition,
}

impl Facts {
    /// # Safety
    /// Within a transaction that has locked the table.
    pub unsafe fn of(table: pg_sys::Oid) -> Facts {
        // SAFETY: the lock is held; the indexes are opened while they are read.
        unsafe {
            let relation = pg_sys::table_open(table, pg_sys::NoLock as _);
            let facts = Facts {
                relation: table,
                is_simple: is_simple(&*relation),
                attributes: attributes(&*relation),
                triggers: triggers(&*relation),
                indexes: indexes(relation),
            };
            pg_sys::relation_close(relation, pg_sys::NoLock as _);
            facts
        }
    }
}

/// True if no publication restricts the updates of a table.
///
/// # Safety
/// Within a transaction that has locked the table.
pub unsafe fn publishes_all_updates(table: pg_sys::Oid) -> bool {
    // SAFETY: the lock is held; the description is copied.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::NoLock as _);
        let mut published = pg_sys::PublicationDesc::default();
        pg_sys::RelationBuildPublicationDesc(relation, &mut published);
        pg_sys::relation_close(relation, pg_sys::NoLock as _);
        published.rf_valid_for_update && published.cols_valid_for_update
    }
}

/// The sequence of an identity column; invalid if there is none.
///
/// # Safety
/// Within a transaction that has locked the table.
pub unsafe fn sequence(table: pg_sys::Oid, column: i16) -> pg_sys::Oid {
    // SAFETY: the lock is held.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::NoLock as _);
        let sequence = since_17::identity_sequence(relation, column);
        pg_sys::relation_close(relation, pg_sys::NoLock as _);
        sequence
    }
}

fn is_simple(relation: &pg_sys::RelationData) -> bool {
    // SAFETY: an open relation; no look-up happens here.
    unsafe {
        let form = &*relation.rd_rel;
        let shape = &*relation.rd_att;
        let has_checks = !shape.constr.is_null() && (*shape.constr).num_check > 0;
        let is_child = |number| (*since_18::attribute(relation.rd_att, number)).attinhcount > 0;
        form.relkind as u8 == pg_sys::RELKIND_RELATION
            && form.relam == pg_sys::HEAP_TABLE_AM_OID
            && matches!(
                form.relreplident as u8,
                pg_sys::REPLICA_IDENTITY_DEFAULT | pg_sys::REPLICA_IDENTITY_FULL
            )
            && !(form.relrowsecurity && form.relforcerowsecurity)
            && !form.relhassubclass
            && !form.relispartition
            && !(0..shape.natts).any(is_child)
            && !has_checks
            && !has_rules(relation)
    }
}

fn has_rules(relation: &pg_sys::RelationData) -> bool {
    // SAFETY: null, or an array of as many rules as are counted.
    unsafe {
        relation.rd_rules.as_ref().is_some_and(|rules| {
            (0..rules.numLocks as usize).any(|place| (**rules.rules.add(place)).enabled as u8 != DISABLED)
        })
    }
}

/// `RULE_DISABLED` (rewrite/rewriteDefine.h) is the same letter. `TRIGGER_FIRES_ALWAYS` (commands/trigger.h) is not among
/// pgrx's bindings.
const DISABLED: u8 = pg_sys::TRIGGER_DISABLED;
const ALWAYS: u8 = b'A';

fn attributes(relation: &pg_sys::RelationData) -> Vec<Attribute> {
    // SAFETY: the columns of an open relation; names end with NUL.
    unsafe {
        let shape = relation.rd_att;
        let attribute = |place| {
            let column = &*since_18::attribute(shape, place);
            Attribute {
                number: column.attnum,
                name: CStr::from_ptr(column.attname.data.as_ptr()).to_string_lossy().into_owned(),
                value_type: column.atttypid,
                modifier: column.atttypmod,
                is_not_null: column.attnotnull,
                is_identity: column.attidentity != 0,
                is_generated: column.attgenerated != 0,
                has_default: column.atthasdef,
                default: default(shape, column.attnum),
            }
        };
        let is_there = |place: &i32| !(*since_18::attribute(shape, *place)).attisdropped;
        (0..(*shape).natts).filter(is_there).map(attribute).collect()
    }
}

/// # Safety
/// The columns of an open relation.
unsafe fn default(shape: pg_sys::TupleDesc, column: i16) -> Option<CString> {
    // SAFETY: an array of as many defaults as are counted.
    unsafe {
        let constraints = (*shape).constr.as_ref()?;
        let found = (0..constraints.num_defval as usize)
            .map(|place| &*constraints.defval.add(place))
            .find(|default| default.adnum == column && !default.adbin.is_null())?;
        Some(CStr::from_ptr(found.adbin).to_owned())
    }
}

fn triggers(relation: &pg_sys::RelationData) -> Vec<Trigger> {
    // SAFETY: null, or an array of as many triggers as are counted, each with an array of its columns.
    unsafe {
        let trigger = |trigger: &pg_sys::Trigger| Trigger {
            function: trigger.tgfoid,
            kind: trigger.tgtype as u32,
            is_disabled: trigger.tgenabled as u8 == DISABLED,
            is_always_enabled: trigger.tgenabled as u8 == ALWAYS,
            is_conditional: !trigger.tgqual.is_null(),
            columns: (0..trigger.tgnattr as usize).map(|place| *trigger.tgattr.add(place)).collect(),
        };
        relation.trigdesc.as_ref().map_or_else(Vec::new, |all| {
            (0..all.numtriggers as usize).map(|place| trigger(&*all.triggers.add(place))).collect()
        })
    }
}

/// # Safety
/// An open relation that is locked.
unsafe fn indexes(relation: pg_sys::Relation) -> Vec<Index> {
    // SAFETY: a list of OIDs, which is a copy; each index is opened while it is read.
    unsafe {
        let list = pg_sys::RelationGetIndexList(relation);
        let length = if list.is_null() { 0 } else { (*list).length };
        let oids: Vec<pg_sys::Oid> = (0..length).map(|place| pg_sys::list_nth_oid(list, place)).collect();
        pg_sys::list_free(list);
        let read = |oid| {
            let index = pg_sys::index_open(oid, pg_sys::AccessShareLock as _);
            let predicate = Condition::of_index(pg_sys::RelationGetIndexPredicate(index));
            let facts = index_facts(&*index, predicate);
            pg_sys::index_close(index, pg_sys::AccessShareLock as _);
            facts
        };
        oids.into_iter().map(read).collect()
    }
}

/// # Safety
/// An open index.
unsafe fn index_facts(index: &pg_sys::RelationData, predicate: Condition) -> Index {
    // SAFETY: an index has a row of pg_index, and as many operator families as it has key columns.
    unsafe {
        let form = &*index.rd_index;
        let is_built_in = |place| (*index.rd_opfamily.add(place)).to_u32() < pg_sys::FirstNormalObjectId;
        Index {
            oid: form.indexrelid,
            is_primary: form.indisprimary,
            is_unique: form.indisunique,
            is_exclusion: form.indisexclusion,
            is_immediate: form.indimmediate,
            is_ready: form.indisready,
            is_valid: form.indisvalid,
            checks_xmin: form.indcheckxmin,
            is_built_in_btree: (*index.rd_rel).relam == pg_sys::BTREE_AM_OID
                && (0..form.indnkeyatts as usize).all(is_built_in),
            columns: form.indkey.values.as_slice(form.indnatts as usize).to_vec(),
            predicate,
        }
    }
}
