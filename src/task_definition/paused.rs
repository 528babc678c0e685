//! What the pauses keep from starting.

use super::{TaskDefinition, TaskDefinitions};
use crate::pauses::Pause;

impl TaskDefinitions {
    /// The pause of the database.
    pub fn database_pause(&self) -> Option<&Pause> {
        self.pauses.database.as_ref()
    }

    /// The pause of a task type.
    pub fn type_pause(&self, task_type: &str) -> Option<&Pause> {
        self.pauses.types.get(task_type)
    }

    /// The pause of a provider.
    pub fn provider_pause(&self, name: &str) -> Option<&Pause> {
        self.pauses.providers.get(name)
    }

    /// The pause of the provider to which the tasks of a definition are sent.
    pub fn pause_behind(&self, definition: &TaskDefinition) -> Option<&Pause> {
        if self.pauses.providers.is_empty() || !definition.calls() {
            return None;
        }
        self.provider_pause(&definition.provider()?)
    }

    /// The pause that keeps the tasks of a definition from starting, if it is not that of the database.
    pub(super) fn pause_of(&self, definition: &TaskDefinition) -> Option<&Pause> {
        self.type_pause(&definition.task_type).or_else(|| self.pause_behind(definition))
    }

    /// The pause that keeps the tasks of a type from starting, if it is not that of the database.
    pub fn pause_of_type(&self, task_type: &str) -> Option<&Pause> {
        if self.pauses.types.is_empty() && self.pauses.providers.is_empty() {
            return None;
        }
        self.pause_of(self.find(task_type)?)
    }

    /// When the next pause ends by itself; `NEVER` if none does.
    pub fn next_pause_end(&self) -> i64 {
        self.pauses.next_end()
    }
}
