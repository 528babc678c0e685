//! Ageing of task types: the column `priority_ages_every` of `queues.task_definition`.

use super::{TaskDefinition, TaskDefinitions};
use crate::shared::{Ageing, Lane, TypeAgeing};

/// The hint for a task type that has no lane for itself.
const TOO_MANY_AGE: &str =
    "At most 15 task types can have limits or priority_ages_every independently of each other.";

impl TaskDefinitions {
    /// The ageing of the task types that have lanes for themselves.
    pub fn ageing(&self) -> &TypeAgeing {
        &self.ageing
    }

    /// How the tasks of a lane age.
    pub fn ageing_of(&self, lane: Lane) -> Ageing {
        lane.type_place().map_or(Ageing::NONE, |place| self.ageing[place])
    }

    /// How the tasks of a definition age.
    pub fn ageing_of_type(&self, definition: &TaskDefinition) -> Ageing {
        self.ageing_of(self.lane_of(definition))
    }

    /// The task types whose tasks age, and how.
    pub fn ageing_types(&self) -> impl Iterator<Item = (&str, Ageing)> {
        let types = self.definitions.values();
        types
            .map(|definition| (definition.task_type.as_str(), self.ageing_of_type(definition)))
            .filter(|(_, ageing)| !ageing.is_none())
    }

    /// Messages and hints for task types that cannot age, since they share a lane.
    pub(super) fn unaged(&self) -> impl Iterator<Item = (String, &'static str)> {
        let is_unaged = |definition: &&TaskDefinition| {
            !definition.ageing.is_none() && self.ageing_of_type(definition).is_none()
        };
        let definitions = self.definitions.values().map(|definition| &**definition).filter(is_unaged);
        definitions.map(|definition| {
            (format!("the tasks of type \"{}\" do not age", definition.task_type), TOO_MANY_AGE)
        })
    }
}
