//! Counts the tasks that start before a task.

use super::passed_over::PassedOver;
use super::rows::TaskRow;
use crate::pg::spi::{Arg, Statement, timestamp};
use crate::shared::{Ageing, Position};
use crate::task_definition::TaskDefinitions;
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::{INT2OID, INT8ARRAYOID, INT8OID, TEXTARRAYOID, TEXTOID, TIMESTAMPTZOID};

static AHEAD: Statement = Statement::new(
    include_str!("../../sql/runtime/explain_ahead.sql"),
    &[INT8OID, TIMESTAMPTZOID, INT8OID, INT2OID, INT8ARRAYOID, INT8OID, TEXTARRAYOID],
);
static AHEAD_OF_TYPE: Statement = Statement::new(
    include_str!("../../sql/runtime/explain_ahead_of_type.sql"),
    &[INT8OID, TIMESTAMPTZOID, INT8OID, INT2OID, INT8ARRAYOID, INT8OID, TEXTOID],
);
static NEXT_PRIORITY: Statement =
    Statement::new(include_str!("../../sql/runtime/next_priority.sql"), &[INT8OID, INT2OID]);

/// What is counted: tasks of this origin that are not passed over, up to a limit.
pub struct Counted<'a> {
    pub origin: i64,
    pub passed_over: &'a PassedOver,
    pub limit: i64,
}

impl Counted<'_> {
    /// The number of tasks that come before this one at `now` and may start.
    pub fn before(&self, task: &TaskRow, definitions: &TaskDefinitions, now: i64) -> i64 {
        let ages = definitions.find(&task.task_type).map(|own| definitions.ageing_of_type(own));
        let TaskRow { priority, scheduled_at, task_id, .. } = *task;
        let position = Position { priority, scheduled_at, task_id };
        let position = ages.unwrap_or_default().effective(position, now);
        let passed_over = &self.passed_over.types;
        let ageing: Vec<(&str, Ageing)> = definitions
            .ageing_types()
            .filter(|(name, _)| passed_over.iter().all(|other| other != name))
            .collect();
        let names = passed_over.iter().map(String::as_str).chain(ageing.iter().map(|(name, _)| *name));
        let mut count = self.count(&AHEAD, position, names.collect::<Vec<_>>().into_datum());
        if ageing.is_empty() {
            return count;
        }
        let priorities: Vec<i16> = self.priorities().chain([0]).collect();
        for (name, ages) in ageing {
            for priority in &priorities {
                if count < self.limit {
                    let before = ages.at_place(ages.place_before(position, now), *priority);
                    count += self.count(&AHEAD_OF_TYPE, before, name.into_datum());
                }
            }
        }
        count.min(self.limit)
    }

    /// The priorities in use, the highest first.
    fn priorities(&self) -> impl Iterator<Item = i16> {
        let next = |most: i16| {
            let args = [self.origin.into_datum(), most.into_datum()];
            NEXT_PRIORITY.rows_as_of_now(&args, |row| row.get::<i16>(1)).pop().flatten()
        };
        std::iter::successors(next(i16::MAX), move |priority| priority.checked_sub(1).and_then(next))
    }

    /// The result of a statement that counts tasks before a position, without or with those of `types`.
    fn count(&self, statement: &'static Statement, before: Position, types: Arg) -> i64 {
        let args = [
            self.origin.into_datum(),
            timestamp(before.scheduled_at),
            before.task_id.into_datum(),
            before.priority.into_datum(),
            self.passed_over.tasks.clone().into_datum(),
            self.limit.into_datum(),
            types,
        ];
        statement.rows_as_of_now(&args, |row| row.get::<i64>(1)).pop().flatten().unwrap_or_default()
    }
}
