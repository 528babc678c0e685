//! Settings that are stored for databases and roles: a worker reads them when it connects.

use crate::slot::{MySlot, Settings};
use std::time::{Duration, Instant};

/// While it is not known whether stored settings have changed, a worker claims no task for at most this time.
const MAX_UNCERTAIN: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct StoredSettings {
    /// Since when stored settings may have changed.
    uncertain_since: Option<Instant>,
}

impl StoredSettings {
    /// False while stored settings have changed, or may have: the next task must not see old ones. A worker with old
    /// ones leaves.
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
