//! Processors: the ways to process a task, which `queues.task_definition` names. A new one is a file, and a line in
//! [`ALL`].

mod call;
mod contract;
mod db_function;

pub use contract::{Context, OpenBatches, Processor, Product, Started};

/// Every processor.
pub static ALL: &[&dyn Processor] = &[&db_function::DbFunction, &call::Call];

/// The processor of that name.
pub fn find(name: &str) -> Option<&'static dyn Processor> {
    ALL.iter().copied().find(|processor| processor.name() == name)
}
