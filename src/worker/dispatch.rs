//! Dispatch: from a task's type to the processor that serves it.

use crate::error::Failure;
use crate::processor::{self, Processor};

/// The processor for `task_type`.
///
/// # Errors
/// A failure that names the known types. Enqueueing refuses other types, but a row may come from a
/// later version of the extension.
pub fn select(task_type: &str) -> Result<&'static dyn Processor, Failure> {
    processor::find(task_type).ok_or_else(|| {
        let reason = format!("no processor for this task type; known: {}", processor::known_types());
        Failure::new("22023", task_type, &reason)
    })
}
