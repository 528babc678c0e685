//! `email`: the before_handler builds a message, Resend sends it.

use super::{Context, Processor, Started, prepare};
use crate::handler::Stop;
use crate::provider::resend::Resend;
use crate::worker::task::Task;

pub struct Email;

impl Processor for Email {
    fn task_type(&self) -> &'static str {
        "email"
    }

    fn calls(&self) -> bool {
        true
    }

    fn start(&self, task: &Task, context: &mut Context) -> Result<Started, Stop> {
        prepare(task, context, &Resend)
    }
}
