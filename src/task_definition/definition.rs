//! A task definition: a row of `queues.task_definition`.

use crate::grantee::Grantee;
use crate::pg::{catalog, guc};
use crate::processor::Processor;
use crate::shared::{Ageing, StartLimits};
use crate::start_limits::KeyLimits;

/// A task definition.
pub struct TaskDefinition {
    pub task_type: String,
    /// The processor, or what is wrong with the row.
    pub processor: Result<&'static dyn Processor, String>,
    pub(super) provider: Option<String>,
    pub(super) provider_setting: Option<String>,
    pub(super) granted_to: Vec<Grantee>,
    /// How many of its tasks run at once, and how often one starts.
    pub limits: Option<StartLimits>,
    pub key_limits: KeyLimits,
    /// How the priority of its waiting tasks rises.
    pub ageing: Ageing,
    /// Its tasks lose their payload when they succeed.
    pub redacts_payload: bool,
}

impl TaskDefinition {
    /// The name of the provider to which its tasks are sent; `None` if they need none.
    pub fn provider(&self) -> Option<String> {
        self.provider.clone().or_else(|| guc::value(self.provider_setting.as_deref()?))
    }

    /// True if its tasks are sent to a provider.
    pub fn calls(&self) -> bool {
        self.processor.as_ref().is_ok_and(|processor| processor.calls())
    }

    /// True if its tasks wait in a lane of their own, since they may have to wait while others start, or have an order
    /// of their own.
    pub(super) fn waits_alone(&self) -> bool {
        self.limits.is_some() || !self.ageing.is_none()
    }

    /// True if the current user may enqueue tasks of this type: as a grantee, or as the owner of the tables.
    pub fn may_be_enqueued(&self) -> bool {
        self.granted_to.iter().any(|grantee| grantee.is_current_user()) || catalog::has_rights_of_owner()
    }
}
