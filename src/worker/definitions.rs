//! The task types that a worker knows, and the lanes of their tasks.

use crate::config::LogLevel;
use crate::error::PgError;
use crate::pg::{home, invalidation, log};
use crate::shared::LaneSet;
use crate::slot::{MySlot, Signals};
use crate::task_definition::TaskDefinitions;

pub struct Definitions {
    /// The value of `Database::definition_changes` as of when the task types were read.
    pub changes: u64,
    /// All lanes that are in use.
    pub lanes: LaneSet,
}

impl Definitions {
    pub const UNKNOWN: Definitions = Definitions { changes: 0, lanes: LaneSet::LOCAL };

    /// Reads the task types again if they may have changed. `is_reloaded`: the settings, which name providers, were
    /// reloaded.
    pub fn refresh(&mut self, slot: MySlot, signals: &Signals, is_reloaded: bool) -> Result<(), PgError> {
        if is_reloaded {
            self.lanes = TaskDefinitions::known().lanes();
        }
        if self.changes != signals.definition_changes || invalidation::is_stale() {
            TaskDefinitions::refresh()?;
            self.changes = signals.definition_changes;
            let definitions = TaskDefinitions::known();
            self.lanes = definitions.lanes();
            let is_paused = definitions.database_pause().is_some();
            slot.show_pauses(self.changes, is_paused, definitions.next_pause_end());
            report_problems(slot);
        }
        Ok(())
    }
}

/// Logs once which rows of task types and providers cannot be used.
fn report_problems(slot: MySlot) {
    let definitions = TaskDefinitions::known();
    let problems = definitions.problems();
    let texts: Vec<&str> = problems.iter().map(|(problem, _)| problem.as_str()).collect();
    let state = if texts.is_empty() { 0 } else { home::digest(&texts.join("\n")) };
    if slot.is_news(|database| &mut database.reported_rows, state) {
        for (problem, hint) in problems {
            log::event_with_hint(LogLevel::Error, format!("{problem}; its tasks fail"), hint.into());
        }
    }
}
