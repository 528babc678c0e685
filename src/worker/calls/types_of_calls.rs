//! The types of tasks that have a call.

use crate::shared::TaskId;
use std::collections::HashMap;
use std::rc::Rc;

/// The number of ended tasks whose types may be kept until they are removed.
const SLACK: usize = 64;

/// The type of a task that has a call.
#[derive(Clone)]
pub struct TypeOfCall {
    /// The account of its limits.
    pub account: u64,
    pub name: Rc<str>,
    /// When the attempt began, if that is known.
    pub began_at: Option<i64>,
}

/// The types of tasks that have a call, by task. Those of ended tasks are removed now and then.
#[derive(Default)]
pub struct TypesOfCalls(HashMap<TaskId, TypeOfCall>);

impl TypesOfCalls {
    pub fn note(&mut self, task_id: TaskId, task_type: TypeOfCall) {
        self.0.insert(task_id, task_type);
    }

    pub fn of(&self, task_id: TaskId) -> Option<&TypeOfCall> {
        self.0.get(&task_id)
    }

    /// True if the types of ended tasks have to be removed. `tasks`: the number of the others.
    pub fn has_many_beyond(&self, tasks: usize) -> bool {
        self.0.len() > 2 * tasks + SLACK
    }
}

impl FromIterator<(TaskId, TypeOfCall)> for TypesOfCalls {
    fn from_iter<T: IntoIterator<Item = (TaskId, TypeOfCall)>>(types: T) -> Self {
        TypesOfCalls(types.into_iter().collect())
    }
}
