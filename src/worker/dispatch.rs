//! Dispatch: from a task's type to the processor that serves it.

use crate::built_in;
use crate::error::Failure;
use crate::processor::Processor;
use crate::task_definition::TaskDefinitions;

/// The processor for `task_type`.
///
/// # Errors
/// A failure that names the known types. Enqueueing refuses other types, but a row may come from another database, and a
/// type may be removed.
pub fn select(task_type: &str) -> Result<&'static dyn Processor, Failure> {
    let definitions = TaskDefinitions::known();
    let found = match definitions.find(task_type) {
        Some(definition) => definition.processor.clone(),
        None => Err(format!("no processor for this task type; known: {}", definitions.names())),
    };
    found.map_err(|reason| {
        let failure = Failure::new("22023", task_type, &reason);
        if built_in::KINDS.contains(&task_type) { failure.with_hint(built_in::REMEDY) } else { failure }
    })
}
