//! Groups errors by the shape of their message, without the executor, see `sql/87_questions.sql`.

use crate::pg::catalog;
use crate::pg::rows::{self, Row, Which};
use crate::pg::spi::Statement;
use hashbrown::HashMap;
use pg_errand_calls::message_shape;
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::OIDOID;
use pgrx::pg_sys::Oid;
use std::collections::BTreeSet;

static INDEX: Statement = Statement::new(include_str!("../sql/runtime/error_time_index.sql"), &[OIDOID]);

/// The errors whose messages have one shape.
pub struct Group {
    pub failures: i64,
    pub first_at: i64,
    pub last_at: i64,
    /// The latest one.
    pub last_id: i64,
    pub task_types: BTreeSet<String>,
    pub sqlstates: BTreeSet<String>,
}

const COLUMNS: [&std::ffi::CStr; 5] =
    [c"error_id", c"error_message", c"created_at", c"task_type", c"sqlstate"];
const ERROR_ID: usize = 0;
const ERROR_MESSAGE: usize = 1;
const CREATED_AT: usize = 2;
const TASK_TYPE: usize = 3;
const SQLSTATE: usize = 4;

/// Groups the errors since a time; each group with the shape.
pub fn since(time: i64) -> HashMap<String, Group> {
    let mut groups = HashMap::new();
    if let Some(table) = catalog::relation(c"queues", c"error") {
        let mut shape = String::new();
        rows::read(table, &Which::After(index(table), time), COLUMNS, |row| {
            let found = row.get(ERROR_ID).zip(row.get(CREATED_AT)).filter(|(_, at)| *at > time);
            if let Some((id, at)) = found {
                shape.clear();
                message_shape::write(&row.text(ERROR_MESSAGE).unwrap_or_default(), &mut shape);
                add(&mut groups, &shape, id, at, row);
            }
        });
    }
    groups
}

fn add(groups: &mut HashMap<String, Group>, shape: &str, id: i64, at: i64, row: &Row) {
    let group = groups.entry_ref(shape).or_insert_with(|| Group::new(id, at));
    group.failures += 1;
    group.first_at = group.first_at.min(at);
    group.last_at = group.last_at.max(at);
    group.last_id = group.last_id.max(id);
    for (place, seen) in [(TASK_TYPE, &mut group.task_types), (SQLSTATE, &mut group.sqlstates)] {
        if let Some(text) = row.text(place)
            && !seen.contains(&*text)
        {
            seen.insert(text.into_owned());
        }
    }
}

impl Group {
    const fn new(id: i64, at: i64) -> Group {
        Group {
            failures: 0,
            first_at: at,
            last_at: at,
            last_id: id,
            task_types: BTreeSet::new(),
            sqlstates: BTreeSet::new(),
        }
    }
}

/// The index of errors by time, if there is one.
fn index(table: Oid) -> Option<Oid> {
    let found: Option<i64> = INDEX.rows(&[table.into_datum()], |row| row.get(1)).pop().flatten();
    found.map(|index| Oid::from_u32(index as u32))
}
