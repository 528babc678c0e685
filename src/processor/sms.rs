//! `sms`: the before_handler builds a text message, `pg_errand.sms_provider` sends it.

use super::{Context, Processor, Started, prepare};
use crate::config::{SMS_PROVIDER, SmsProvider};
use crate::handler::Stop;
use crate::provider::simulated::Simulated;
use crate::worker::task::Task;

pub struct Sms;

impl Processor for Sms {
    fn task_type(&self) -> &'static str {
        "sms"
    }

    fn calls(&self) -> bool {
        true
    }

    fn start(&self, task: &Task, context: &mut Context) -> Result<Started, Stop> {
        match SMS_PROVIDER.get() {
            SmsProvider::Simulated => prepare(task, context, &Simulated),
        }
    }
}
