//! Answered calls: the response is stored, and the last step of the task has not run yet.

use super::result::CallResult;
use crate::error::PgError;
use crate::shared::TaskId;
use crate::worker::repetition::repeat_pause;
use std::time::Instant;

struct AnsweredCall {
    task_id: TaskId,
    /// The result; `None` if another worker has stored it.
    result: Option<CallResult>,
    not_before: Instant,
    repeats: u32,
    /// Why the end of the task could not be written. Its handlers are not invoked again.
    refusal: Option<PgError>,
}

/// The answered calls of a worker, in the order of their last steps.
#[derive(Default)]
pub struct AnsweredCalls(Vec<AnsweredCall>);

impl AnsweredCalls {
    pub fn add(&mut self, task_id: TaskId, result: Option<CallResult>) {
        self.0.push(AnsweredCall { task_id, result, not_before: Instant::now(), repeats: 0, refusal: None });
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn tasks(&self) -> impl Iterator<Item = TaskId> {
        self.0.iter().map(|answered| answered.task_id)
    }

    pub fn holds(&self, task_id: TaskId) -> bool {
        self.find(task_id).is_some()
    }

    pub fn remove(&mut self, task_id: TaskId) {
        self.0.retain(|answered| answered.task_id != task_id);
    }

    /// The next task whose last step can run.
    pub fn next(&self) -> Option<TaskId> {
        let now = Instant::now();
        self.0.iter().find(|answered| answered.not_before <= now).map(|answered| answered.task_id)
    }

    /// When each last step can run.
    pub fn times(&self) -> impl Iterator<Item = Instant> {
        self.0.iter().map(|answered| answered.not_before)
    }

    /// Defers the last step of a task, longer each time.
    pub fn postpone(&mut self, task_id: TaskId) {
        if let Some(answered) = self.find_mut(task_id) {
            answered.repeats += 1;
            answered.not_before = Instant::now() + repeat_pause(answered.repeats);
        }
    }

    /// How often the last step of a task has been repeated.
    pub fn repeats(&self, task_id: TaskId) -> u32 {
        self.find(task_id).map_or(0, |answered| answered.repeats)
    }

    /// Notes that the end of a task cannot be written, so that its handlers are not invoked again.
    pub fn refuse(&mut self, task_id: TaskId, error: PgError) {
        if let Some(answered) = self.find_mut(task_id) {
            answered.refusal = Some(error);
        }
    }

    pub fn refusal(&self, task_id: TaskId) -> Option<&PgError> {
        self.find(task_id)?.refusal.as_ref()
    }

    pub fn result(&self, task_id: TaskId) -> Option<&CallResult> {
        self.find(task_id)?.result.as_ref()
    }

    fn find(&self, task_id: TaskId) -> Option<&AnsweredCall> {
        self.0.iter().find(|answered| answered.task_id == task_id)
    }

    fn find_mut(&mut self, task_id: TaskId) -> Option<&mut AnsweredCall> {
        self.0.iter_mut().find(|answered| answered.task_id == task_id)
    }
}
