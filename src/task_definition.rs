//! Task definitions, providers and their pauses: the rows of `queues.task_definition`, `queues.provider` and
//! `queues.paused`. Each process caches them until one of the tables changes.

mod ageing;
mod definition;
mod paused;
mod problems;
mod rows;

use crate::error::PgError;
use crate::pauses::{self, Pauses};
use crate::pg::{catalog, invalidation, transaction};
use crate::shared::{Ageing, Lane, LaneSet, StartLimits, TYPE_LANES, TypeAgeing, TypeLimits};
pub use definition::TaskDefinition;
use pg_errand_calls::provider::Provider;
use pg_errand_calls::task_type;
use pgrx::pg_sys;
use rows::{Found, read_definitions, read_providers};
pub use rows::{MAX_SHOWN_NAME, fields};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// The hint for a row that cannot be used.
pub const MEND: &str =
    "Correct its row in queues.task_definition, or the row of its provider in queues.provider.";

thread_local! {
    static CACHE: RefCell<Option<Rc<TaskDefinitions>>> = const { RefCell::new(None) };
}

/// All task definitions and providers.
#[derive(Default)]
pub struct TaskDefinitions {
    /// False if the tables do not exist, or have not been read yet.
    are_read: bool,
    definitions: HashMap<String, Rc<TaskDefinition>>,
    providers: HashMap<String, Result<Arc<Provider>, String>>,
    lanes: HashMap<String, Lane>,
    /// The lanes of the task types that wait in lanes of their own.
    type_lanes: HashMap<String, Lane>,
    limits: TypeLimits,
    ageing: TypeAgeing,
    pauses: Pauses,
    /// The number of changes that had been announced before they were read.
    as_of: u64,
}

impl TaskDefinitions {
    /// The current rows, read again if they have changed.
    pub fn now() -> Rc<TaskDefinitions> {
        if invalidation::is_stale() {
            TaskDefinitions::keep(TaskDefinitions::load());
        }
        TaskDefinitions::known()
    }

    /// The rows as they were read last. For workers, which must not wait for a lock on these tables while they hold
    /// others: a command that drops the tables would wait for them.
    pub fn known() -> Rc<TaskDefinitions> {
        CACHE.with_borrow(|cache| cache.clone()).unwrap_or_default()
    }

    /// Reads the rows again if they have changed, in transactions of its own.
    ///
    /// # Errors
    /// If the tables cannot be read.
    pub fn refresh() -> Result<(), PgError> {
        // Invalidation messages are received when a transaction starts.
        let Some((as_of, owner, definitions)) = transaction::commit_after(|| {
            let as_of = pauses::changes();
            let owner = invalidation::is_stale().then(begin_reading).flatten();
            owner.map(|owner| (as_of, owner, read_definitions(owner)))
        })?
        else {
            return Ok(());
        };
        let (providers, pauses) = transaction::commit_after(|| (read_providers(owner), Pauses::read(owner)))?;
        TaskDefinitions::keep(TaskDefinitions {
            as_of,
            pauses,
            ..TaskDefinitions::of(definitions, providers)
        });
        Ok(())
    }

    /// Reads the rows again if a change has been announced since, as [`TaskDefinitions::refresh`] does.
    ///
    /// # Errors
    /// If the tables cannot be read.
    pub fn refresh_if_changed() -> Result<(), PgError> {
        if TaskDefinitions::known().as_of == pauses::changes() {
            return Ok(());
        }
        invalidation::note_stale();
        TaskDefinitions::refresh()
    }

    fn load() -> TaskDefinitions {
        let as_of = pauses::changes();
        let Some(owner) = begin_reading() else { return TaskDefinitions::default() };
        let (definitions, providers) = (read_definitions(owner), read_providers(owner));
        let pauses = Pauses::read(owner);
        TaskDefinitions { as_of, pauses, ..TaskDefinitions::of(definitions, providers) }
    }

    fn keep(definitions: TaskDefinitions) {
        invalidation::end_reading();
        CACHE.set(Some(Rc::new(definitions)));
    }

    fn of(definitions: Vec<TaskDefinition>, providers: Vec<Found>) -> TaskDefinitions {
        let lanes = providers.iter().map(|(name, lane, _)| (name.clone(), *lane)).collect();
        let mut alone: Vec<&TaskDefinition> =
            definitions.iter().filter(|definition| definition.waits_alone()).collect();
        // All processes find the same lanes.
        alone.sort_unstable_by(|one, other| one.task_type.cmp(&other.task_type));
        let mut limits = [None; TYPE_LANES];
        limits.iter_mut().zip(&alone).for_each(|(limits, definition)| *limits = definition.limits);
        let mut ageing = [Ageing::NONE; TYPE_LANES];
        ageing.iter_mut().zip(&alone).for_each(|(ageing, definition)| *ageing = definition.ageing);
        let type_lanes = alone
            .iter()
            .enumerate()
            .map(|(place, definition)| (definition.task_type.clone(), Lane::of_type(place)))
            .collect();
        TaskDefinitions {
            are_read: true,
            definitions: definitions
                .into_iter()
                .map(|definition| (definition.task_type.clone(), Rc::new(definition)))
                .collect(),
            providers: providers.into_iter().map(|(name, _, provider)| (name, provider)).collect(),
            lanes,
            type_lanes,
            limits,
            ageing,
            ..TaskDefinitions::default()
        }
    }

    /// The number of changes that had been announced before the rows were read.
    pub fn as_of(&self) -> u64 {
        self.as_of
    }

    /// False if there are no tables to read them from.
    pub fn are_read(&self) -> bool {
        self.are_read
    }

    pub fn find(&self, task_type: &str) -> Option<&Rc<TaskDefinition>> {
        self.definitions.get(task_type)
    }

    pub fn all(&self) -> impl Iterator<Item = &TaskDefinition> {
        self.definitions.values().map(|definition| &**definition)
    }

    /// The provider to which the tasks of a definition are sent.
    ///
    /// # Errors
    /// If there is none.
    pub fn provider_of(&self, definition: &TaskDefinition) -> Result<Arc<Provider>, String> {
        let name = definition
            .provider()
            .ok_or_else(|| format!("task type {} has no provider", definition.task_type))?;
        let provider = self.provider(&name)?;
        task_type::check(&definition.task_type, &provider)
            .map_err(|reason| format!("provider \"{name}\" cannot be used for them: {reason}"))?;
        Ok(provider)
    }

    /// The provider that the tasks of a definition need; `None` if they need none.
    ///
    /// # Errors
    /// If they cannot be processed.
    pub fn needed_provider(&self, definition: &TaskDefinition) -> Result<Option<Arc<Provider>>, String> {
        let calls = definition.processor.as_ref().map_err(String::clone)?.calls();
        if calls { self.provider_of(definition).map(Some) } else { Ok(None) }
    }

    /// The provider of that name.
    ///
    /// # Errors
    /// If there is no such provider, or its row is invalid.
    pub fn provider(&self, name: &str) -> Result<Arc<Provider>, String> {
        self.providers.get(name).cloned().unwrap_or_else(|| Err(format!("there is no provider \"{name}\"")))
    }

    /// The providers whose rows are valid.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.values().flatten()
    }

    /// The lane in which the tasks of a definition wait.
    pub fn lane_of(&self, definition: &TaskDefinition) -> Lane {
        if self.pause_of(definition).is_some() {
            return Lane::PAUSED;
        }
        if definition.waits_alone()
            && let Some(lane) = self.type_lanes.get(&definition.task_type)
        {
            return *lane;
        }
        self.lane_of_calls(definition)
    }

    /// The lane in which the tasks of a type wait. Those of an unknown type fail, in the local lane.
    pub fn lane_of_type(&self, task_type: &str) -> Lane {
        self.find(task_type).map_or(Lane::LOCAL, |definition| self.lane_of(definition))
    }

    /// The lane of the calls of a definition's tasks; the local lane if they need no provider.
    fn lane_of_calls(&self, definition: &TaskDefinition) -> Lane {
        if !definition.calls() {
            return Lane::LOCAL;
        }
        definition.provider().map_or(Lane::LAST, |name| self.lane_of_provider(&name))
    }

    /// The lane whose calls a lane's tasks make: it is the same one, except for the lane of a task type.
    pub fn lane_behind(&self, lane: Lane) -> Lane {
        if !LaneSet::OF_TYPES.holds(lane) {
            return lane;
        }
        let of_calls = self
            .definitions
            .values()
            .filter(|definition| self.lane_of(definition) == lane)
            .map(|definition| self.lane_of_calls(definition));
        of_calls.fold(Lane::LOCAL, |found, lane| if found == Lane::LOCAL { lane } else { found })
    }

    /// The limits of the task types that have lanes for themselves.
    pub fn limits(&self) -> &TypeLimits {
        &self.limits
    }

    /// The limits of a task type, and the lane in which its tasks wait; `None` if it has none.
    pub fn limits_of(&self, task_type: &str) -> Option<(StartLimits, Lane)> {
        if self.type_lanes.is_empty() {
            return None;
        }
        let definition = self.find(task_type)?;
        Some((definition.limits?, self.lane_of(definition)))
    }

    pub fn lane_of_provider(&self, name: &str) -> Lane {
        self.lanes.get(name).copied().unwrap_or(Lane::LAST)
    }

    /// All lanes in which tasks can wait.
    pub fn lanes(&self) -> LaneSet {
        self.definitions.values().fold(LaneSet::LOCAL, |set, definition| set.with(self.lane_of(definition)))
    }

    /// The task types of a lane; for the local lane, the task types of all other lanes.
    pub fn types_for(&self, lane: Lane) -> Vec<&str> {
        let wanted = |definition: &&Rc<TaskDefinition>| match lane {
            Lane::LOCAL => self.lane_of(definition) != Lane::LOCAL,
            lane => self.lane_of(definition) == lane,
        };
        self.definitions.values().filter(wanted).map(|definition| definition.task_type.as_str()).collect()
    }

    /// The names of all task types, for messages.
    pub fn names(&self) -> String {
        if self.definitions.is_empty() {
            return "none".to_owned();
        }
        let mut names: Vec<&str> = self.definitions.keys().map(String::as_str).collect();
        names.sort_unstable();
        names.join(", ")
    }
}

/// Invalidates, when the current transaction commits, what all processes have cached of these tables, and which
/// functions they have found to be handlers.
pub fn announce_change() {
    if let Some(table) = watched() {
        invalidation::announce(table);
    }
}

/// The table whose invalidation stands for a change of either table.
fn watched() -> Option<pg_sys::Oid> {
    catalog::relation(c"queues", c"task_definition")
}

/// The owner of the tables; `None` if they do not exist.
fn begin_reading() -> Option<pg_sys::Oid> {
    invalidation::begin_reading(watched()?);
    catalog::owner_of(c"queues", c"task_definition")
}
