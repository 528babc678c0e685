//! Starts: counts the tasks between the steps of their calls towards the limits of their types.

use super::state::Calls;
use super::types_of_calls::TypeOfCall;
use crate::pg::backend;
use crate::shared::{Starts, TaskId, ToId, type_account};
use crate::task::Brief;

impl Calls {
    /// Notes the type of a task that has a call, and when the attempt began, if that is known. It is noted for every type,
    /// since one may get a limit later.
    pub fn note_type(&mut self, task_id: TaskId, task_type: &str, began_at: Option<i64>) {
        let account = type_account(backend::database().id(), task_type);
        self.types.note(task_id, TypeOfCall { account, name: task_type.into(), began_at });
    }

    /// The tasks between the steps of their calls, by type.
    pub(super) fn count_starts(&mut self) -> Starts {
        let mut starts = Starts::NONE;
        let mut tasks = 0;
        for task_type in self.task_ids().filter_map(|task_id| self.types.of(task_id)) {
            starts.add(task_type.account);
            tasks += 1;
        }
        if self.types.has_many_beyond(tasks) {
            let kept = self.task_ids().filter_map(|task_id| Some((task_id, self.types.of(task_id)?.clone())));
            self.types = kept.collect();
        }
        starts
    }

    /// What is known of the task of a call.
    pub(super) fn brief_of(&self, task_id: TaskId) -> Brief {
        let brief = Brief::of_call(task_id);
        match self.types.of(task_id) {
            None => brief,
            Some(TypeOfCall { name, began_at, .. }) => {
                Brief { task_type: name.to_string(), started_at: began_at.unwrap_or_default(), ..brief }
            }
        }
    }

    fn task_ids(&self) -> impl Iterator<Item = TaskId> {
        let unstored = self.unstored.iter().map(|(task_id, _)| *task_id);
        self.batches().flat_map(|batch| batch.tasks()).chain(unstored).chain(self.answered.tasks())
    }
}
