//! What is wrong with task definitions and providers.

use super::{MEND, TaskDefinitions};
use crate::built_in;

impl TaskDefinitions {
    /// Messages and hints for rows of both tables that cannot be used or are missing.
    pub fn problems(&self) -> Vec<(String, &'static str)> {
        let definitions = self.definitions.values().filter_map(|definition| {
            let reason = definition.processor.as_ref().err()?;
            Some(format!("task type \"{}\" cannot be used: {reason}", definition.task_type))
        });
        let providers = self.providers.values().filter_map(|provider| provider.as_ref().err().cloned());
        let unusable =
            definitions.chain(self.without_provider()).chain(providers).map(|problem| (problem, MEND));
        let missing = self.missing().into_iter();
        let missing = missing.map(|name| (format!("task type \"{name}\" is missing"), built_in::REMEDY));
        let mut problems: Vec<_> = unusable.chain(self.unaged()).chain(missing).collect();
        problems.sort_unstable();
        problems
    }

    /// Messages for task definitions whose provider does not exist.
    fn without_provider(&self) -> impl Iterator<Item = String> {
        let calling = self.definitions.values().filter(|definition| definition.calls());
        calling.filter_map(|definition| {
            let name = definition.provider().filter(|name| !self.providers.contains_key(name))?;
            let task_type = &definition.task_type;
            Some(format!("task type \"{task_type}\" cannot be used: there is no provider \"{name}\""))
        })
    }

    /// The built-in task types that are missing.
    fn missing(&self) -> Vec<&'static str> {
        let is_missing = |name: &&str| self.are_read && !self.definitions.contains_key(*name);
        built_in::TASK_TYPES.into_iter().filter(is_missing).collect()
    }
}
