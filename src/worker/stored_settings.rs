//! Settings that are stored for databases and roles. A worker reads them when it connects.

use crate::slot::{MySlot, Settings};
use std::time::{Duration, Instant};

/// The maximum time for which a worker claims no task while it is unknown whether stored settings have changed.
const MAX_UNCERTAIN: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct StoredSettings {
    /// Since when stored settings may have changed.
    uncertain_since: Option<Instant>,
}

impl StoredSettings {
    /// False while stored settings have changed or may have changed, since the next task must not run with outdated
    /// ones. A worker with outdated settings exits.
    pub fn are_current(&mut self, slot: MySlot, settings: Settings) -> bool {
        match settings {
            Settings::Same => {
                self.uncertain_since = None;
                true
            }
            Settings::Changed => {
                slot.retire();
                false
            }
            Settings::Unknown => {
                let since = *self.uncertain_since.get_or_insert_with(Instant::now);
                since.elapsed() > MAX_UNCERTAIN
            }
        }
    }
}
