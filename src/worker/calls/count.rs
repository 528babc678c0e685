//! What the statistics count of calls.

use super::batch::Batch;
use super::types_of_calls::TypesOfCalls;
use crate::shared::TaskId;
use crate::stats;
use pg_errand_calls::job::Outcome;
use pg_errand_stats::{CallCount, Counter};

/// Counts a call that has ended, for each task of its batch.
pub fn ended(types: &TypesOfCalls, batch: &Batch, outcome: &Outcome) {
    let status = outcome.response.as_ref().ok().map(|response| response.status);
    let call = CallCount { status, took: outcome.took.as_micros() as u64 };
    for member in &batch.members {
        if let Some(task_type) = types.of(member.task_id) {
            stats::count_call(&task_type.name, &batch.provider.name, call);
        }
    }
}

/// Counts how the call of a task continues after it has ended.
pub fn continued(types: &TypesOfCalls, task_id: TaskId, provider: &str, counter: Counter) {
    if let Some(task_type) = types.of(task_id) {
        stats::count_call_as(&task_type.name, provider, counter);
    }
}
