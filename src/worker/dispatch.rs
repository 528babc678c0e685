//! Dispatch: finds the processor that serves a task's type.

use crate::built_in;
use crate::error::Failure;
use crate::processor::Processor;
use crate::task_definition::TaskDefinitions;
use pg_errand_calls::provider::Provider;
use std::sync::Arc;

/// The processor for `task_type`.
///
/// # Errors
/// A failure that names the known types. Enqueueing refuses other types, but a row may come from another database, and
/// a type may be removed.
pub fn select(task_type: &str) -> Result<&'static dyn Processor, Failure> {
    let definitions = TaskDefinitions::known();
    let found = match definitions.find(task_type) {
        Some(definition) => definition.processor.clone(),
        None => Err(format!("no processor for this task type; known: {}", definitions.names())),
    };
    found.map_err(|reason| {
        let failure = Failure::new("22023", task_type, &reason);
        if built_in::TASK_TYPES.contains(&task_type) { failure.with_hint(built_in::REMEDY) } else { failure }
    })
}

/// The provider that tasks of this type go to.
///
/// # Errors
/// If the type does not exist or its provider cannot be used.
pub fn find_provider(task_type: &str) -> Result<Arc<Provider>, Failure> {
    let definitions = TaskDefinitions::known();
    match definitions.find(task_type).map(|definition| definitions.provider_of(definition)) {
        Some(Ok(provider)) => Ok(provider),
        Some(Err(reason)) => Err(Failure::new("F0000", task_type, &reason)),
        None => Err(Failure::new("22023", task_type, "there is no such task type")),
    }
}
