//! Compares a table with what is expected of it: whether a statement that writes a row would do anything else.

use super::condition::{Known, Truth};
use super::definition::{definition, function_name, has_value};
use super::facts::{self, Attribute, Facts, Index, Trigger};
use super::wanted::{Column, Inserts, Wanted};
use crate::pg::session;
use pgrx::{FromDatum, pg_sys};

/// The result of the comparison.
#[derive(Default)]
pub struct Found {
    /// The index of the primary key; `None` if statements have to be used.
    pub key: Option<pg_sys::Oid>,
    /// All indexes of the table.
    pub indexes: Vec<pg_sys::Oid>,
    /// The attribute numbers of the columns.
    pub numbers: Vec<i16>,
    /// The indexes that get an entry for each row that is inserted.
    pub entries: Vec<pg_sys::Oid>,
    /// The sequence of the key; invalid if it has none.
    pub sequence: pg_sys::Oid,
    /// The indexes of [`Wanted::orders`]; invalid for one that does not exist or cannot be used.
    pub orders: Vec<pg_sys::Oid>,
}

/// Within a transaction that has locked the table. `owner`: whose privileges are used to write it.
pub fn look(wanted: &Wanted, table: pg_sys::Oid, owner: pg_sys::Oid) -> Found {
    // SAFETY: the table is locked.
    let facts = unsafe { Facts::of(table) };
    let indexes = facts.indexes.iter().map(|index| index.oid).collect();
    let Some(numbers) = numbers(wanted, &facts) else { return Found { indexes, ..Found::default() } };
    let table = Table { wanted, facts: &facts, numbers: &numbers };
    let key = table.key().filter(|_| table.is_plain(owner));
    let (entries, sequence, orders) = match key {
        Some(key) => (table.entries(key), table.sequence(), table.orders()),
        None => Default::default(),
    };
    Found { key, indexes, numbers, entries, sequence, orders }
}

/// The attribute numbers of the columns; `None` if one is missing or is defined in another way.
fn numbers(wanted: &Wanted, facts: &Facts) -> Option<Vec<i16>> {
    let number = |wanted_definition: &&str| {
        let name = wanted_definition.split(' ').next()?;
        let attribute = facts.attributes.iter().find(|attribute| attribute.name == name)?;
        (definition(attribute, wanted.inserts.is_some()).as_deref() == Some(wanted_definition))
            .then_some(attribute.number)
    };
    wanted.columns.iter().map(number).collect()
}

/// A table that has the columns.
struct Table<'a> {
    wanted: &'a Wanted,
    facts: &'a Facts,
    numbers: &'a [i16],
}

impl Table<'_> {
    fn key(&self) -> Option<pg_sys::Oid> {
        let is_key = |index: &&Index| {
            index.is_primary
                && index.is_immediate
                && index.is_valid
                && index.is_ready
                && index.columns == [self.number(Column::KEY)]
        };
        self.facts.indexes.iter().find(is_key).map(|index| index.oid)
    }

    fn number(&self, column: Column) -> i16 {
        self.numbers[column.0]
    }

    /// True if a statement would only write the row and the entries of [`Table::entries`].
    fn is_plain(&self, owner: pg_sys::Oid) -> bool {
        let facts = self.facts;
        facts.is_simple
            && !facts.attributes.iter().any(|attribute| attribute.is_generated)
            && facts.indexes.iter().all(|index| self.use_of(index) != Use::ByStatement)
            && !facts.triggers.iter().any(|trigger| self.fires(trigger))
            && self.wanted.inserts.as_ref().is_none_or(|inserts| self.inserts_plainly(inserts, owner))
            // SAFETY: the table is locked.
            && (self.wanted.changed.is_empty() || unsafe { facts::publishes_all_updates(facts.relation) })
    }

    fn inserts_plainly(&self, inserts: &Inserts, owner: pg_sys::Oid) -> bool {
        let is_other = |attribute: &&Attribute| !self.numbers.contains(&attribute.number);
        // The owner may have revoked its own privilege.
        // SAFETY: a catalog look-up.
        let may_insert = || unsafe {
            pg_sys::pg_class_aclcheck(self.facts.relation, owner, pg_sys::ACL_INSERT as _)
                == pg_sys::AclResult::ACLCHECK_OK
        };
        !self.facts.attributes.iter().filter(is_other).any(has_value)
            && inserts.trigger.is_none_or(|function| self.has_trigger(function))
            && may_insert()
    }

    /// True if the trigger whose work is done without it exists and was not changed.
    fn has_trigger(&self, function: &str) -> bool {
        let kind = pg_sys::TRIGGER_TYPE_ROW | pg_sys::TRIGGER_TYPE_BEFORE | pg_sys::TRIGGER_TYPE_INSERT;
        self.facts.triggers.iter().any(|trigger| {
            trigger.kind == kind
                && trigger.is_always_enabled
                && !trigger.is_conditional
                && function_name(trigger.function).as_deref() == Some(function)
        })
    }

    /// True if a trigger would do work that is not done without it.
    fn fires(&self, trigger: &Trigger) -> bool {
        if trigger.is_disabled {
            return false;
        }
        let is_changed =
            |column: &i16| self.wanted.changed.iter().any(|changed| self.number(*changed) == *column);
        let on_update = trigger.kind & pg_sys::TRIGGER_TYPE_UPDATE != 0
            && (trigger.columns.is_empty() || trigger.columns.iter().any(is_changed));
        let on_insert = trigger.kind & pg_sys::TRIGGER_TYPE_INSERT != 0;
        on_update && !self.wanted.changed.is_empty()
            || on_insert
                && self.wanted.inserts.as_ref().is_some_and(|inserts| {
                    inserts.trigger.is_none() || function_name(trigger.function).as_deref() != inserts.trigger
                })
    }

    fn use_of(&self, index: &Index) -> Use {
        if index.is_primary {
            return Use::Entry;
        }
        let truth = match (&self.wanted.inserts, self.wanted.changed.is_empty()) {
            (Some(inserts), true) => index.predicate.truth(&|column| self.known(inserts, column)),
            (_, _) if !self.has_predicate(index) => Truth::Unknown,
            (Some(_), false) => Truth::True,
            (None, _) => Truth::False,
        };
        match truth {
            Truth::False | Truth::Null => Use::None,
            Truth::True if index.is_simple() => Use::Entry,
            Truth::True | Truth::Unknown => Use::ByStatement,
        }
    }

    /// True if the predicate is one of the list.
    fn has_predicate(&self, index: &Index) -> bool {
        let text = index.predicate.text(&|column| self.unquoted_name(column));
        text.is_some_and(|text| self.wanted.predicates.contains(&text.as_str()))
    }

    /// `None` for a name that PostgreSQL may write in quotes.
    fn unquoted_name(&self, column: i16) -> Option<String> {
        let attribute = self.facts.attributes.iter().find(|attribute| attribute.number == column)?;
        let is_plain = |c: char| c.is_ascii_lowercase() || c == '_';
        attribute.name.chars().all(is_plain).then(|| attribute.name.clone())
    }

    /// What is known of a column of each row that is inserted.
    fn known(&self, inserts: &Inserts, column: i16) -> Known {
        let Some(place) = self.numbers.iter().position(|number| *number == column) else {
            return Known::Null;
        };
        if inserts.are_false.contains(&Column(place)) {
            return Known::False;
        }
        let is_it = |attribute: &&Attribute| attribute.number == column && attribute.is_not_null;
        if self.facts.attributes.iter().any(|attribute| is_it(&attribute)) {
            Known::NotNull
        } else {
            Known::Nothing
        }
    }

    fn entries(&self, key: pg_sys::Oid) -> Vec<pg_sys::Oid> {
        let gets_entry = |index: &&Index| index.oid == key || self.use_of(index) == Use::Entry;
        match self.wanted.inserts {
            Some(_) => self.facts.indexes.iter().filter(gets_entry).map(|index| index.oid).collect(),
            None => Vec::new(),
        }
    }

    fn sequence(&self) -> pg_sys::Oid {
        match self.wanted.inserts {
            // SAFETY: the table is locked.
            Some(_) => unsafe { facts::sequence(self.facts.relation, self.number(Column::KEY)) },
            None => pg_sys::InvalidOid,
        }
    }

    fn orders(&self) -> Vec<pg_sys::Oid> {
        if self.wanted.orders.is_empty() {
            return Vec::new();
        }
        // Names of functions are written without their schema if the search_path has it.
        session::with_own_settings(|| {
            let usable = || self.facts.indexes.iter().filter(|index| index.is_valid && !index.checks_xmin);
            let written: Vec<_> = usable().map(|index| (index.oid, index_definition(index.oid))).collect();
            let find = |order: &&str| written.iter().find(|(_, definition)| definition.ends_with(order));
            let orders = self.wanted.orders.iter();
            orders.map(|order| find(order).map_or(pg_sys::InvalidOid, |(oid, _)| *oid)).collect()
        })
    }
}

/// What is done about an index.
#[derive(PartialEq, Eq)]
enum Use {
    /// The row gets no entry.
    None,
    Entry,
    ByStatement,
}

impl Index {
    /// True if an entry can be inserted without the executor. A violation of uniqueness, also a deferred one, is reported by
    /// a statement.
    fn is_simple(&self) -> bool {
        self.is_ready
            && self.is_immediate
            && self.is_built_in_btree
            && !self.is_unique
            && !self.is_exclusion
            && self.columns.iter().all(|column| *column > 0)
    }
}

/// The definition of an index, as PostgreSQL writes it.
fn index_definition(index: pg_sys::Oid) -> String {
    // SAFETY: a function of one OID, which returns text.
    unsafe {
        let function = pg_sys::F_PG_GET_INDEXDEF_OID;
        let text = pg_sys::OidFunctionCall1Coll(function, pg_sys::InvalidOid, pg_sys::Datum::from(index));
        String::from_datum(text, false).unwrap_or_default()
    }
}
