//! Which tasks are passed over: they may not start now, whatever comes after them.

use super::rows::{self, Leased};
use crate::pg::{backend, shmem};
use crate::provider;
use crate::shared::{DatabaseId, Lane, Ready, ToId};
use crate::task_definition::{TaskDefinition, TaskDefinitions};

/// Tasks that are passed over.
pub struct PassedOver {
    /// Those that run, and those that workers or the journal withhold.
    pub tasks: Vec<i64>,
    /// The types of which no task may start.
    pub types: Vec<String>,
}

impl PassedOver {
    pub fn find(definitions: &TaskDefinitions, now: i64) -> PassedOver {
        let database = backend::database().id();
        let (paused, others): (Vec<_>, Vec<_>) = definitions
            .all()
            .map(|definition| (definition, definitions.lane_of(definition)))
            .filter(|(_, lane)| *lane != Lane::LOCAL)
            .partition(|(_, lane)| *lane == Lane::PAUSED);
        let tasks = any_tasks(definitions, &others, database);
        let (full, tasks) = shmem::read_journal(|shared, journal| {
            let full: Vec<&str> = tasks
                .iter()
                .filter(|(_, task)| shared.is_passed_over(task, now))
                .map(|(task_type, _)| *task_type)
                .collect();
            let running = shared.slots_of(database).map(|slot| slot.task_id).filter(|id| *id != 0);
            (full, running.chain(shared.withheld(journal, database, now)).collect())
        });
        let paused = paused.iter().map(|(definition, _)| definition.task_type.as_str());
        PassedOver { tasks, types: paused.chain(full).map(str::to_owned).collect() }
    }
}

/// A task of each type that says nothing of itself.
fn any_tasks<'a>(
    definitions: &TaskDefinitions,
    of: &[(&'a TaskDefinition, Lane)],
    database: DatabaseId,
) -> Vec<(&'a str, Ready)> {
    let counting =
        |definition: &&TaskDefinition| definition.limits.is_some_and(|limits| limits.terms.max_in_flight > 0);
    let counting: Vec<&str> = of
        .iter()
        .map(|(definition, _)| *definition)
        .filter(counting)
        .map(|definition| definition.task_type.as_str())
        .collect();
    let leased = rows::leased(&counting);
    let any_task = |(definition, lane): &(&'a TaskDefinition, Lane)| {
        let needed = definitions.needed_provider(definition).ok().flatten();
        let task = Ready {
            database,
            task_id: 0,
            lane: *lane,
            terms: needed.map(|provider| provider::terms(&provider)),
            limits: definition.limits,
            leased: leased.get(&definition.task_type).unwrap_or(&Leased::NONE).count,
            key: None,
        };
        (definition.task_type.as_str(), task)
    };
    of.iter().map(any_task).collect()
}
