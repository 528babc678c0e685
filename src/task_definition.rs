//! Task definitions and providers: the rows of `queues.task_definition` and `queues.provider`. Each process caches them
//! until one of the tables changes.

use crate::built_in;
use crate::error::PgError;
use crate::grantee::Grantee;
use crate::pg::spi::{Row, Statement};
use crate::pg::{catalog, guc, invalidation, jsonb, log, session, transaction};
use crate::processor::{self, Processor};
use crate::shared::{Lane, LaneSet};
use pg_errand_calls::json;
use pg_errand_calls::provider::Provider;
use pg_errand_calls::provider::check::check;
use pg_errand_calls::task_type;
use pgrx::pg_sys::BuiltinOid::TEXTOID;
use pgrx::{IntoDatum, pg_sys};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

static DEFINITIONS: Statement = Statement::new(include_str!("../sql/runtime/task_definitions.sql"), &[]);
static PROVIDERS: Statement = Statement::new(include_str!("../sql/runtime/providers.sql"), &[TEXTOID]);
static PROVIDER_NAMES: Statement = Statement::new(include_str!("../sql/runtime/provider_names.sql"), &[]);

/// The largest size of a provider's row as text, in bytes: each session reads all rows.
const MAX_PROVIDER_SIZE: usize = 1024 * 1024;
/// The number of bytes of a name that messages show.
pub const MAX_SHOWN_NAME: usize = 300;

/// The hint for a row that cannot be used.
pub const MEND: &str =
    "Correct its row in queues.task_definition, or the row of its provider in queues.provider.";

/// Settings that name a provider, see `errand.task_definition_before_write_checked`.
const PROVIDER_SETTINGS: [&str; 2] = ["pg_errand.email_provider", "pg_errand.sms_provider"];

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
}

/// A task definition.
pub struct TaskDefinition {
    pub task_type: String,
    /// The processor, or what is wrong with the row.
    pub processor: Result<&'static dyn Processor, String>,
    provider: Option<String>,
    provider_setting: Option<String>,
    granted_to: Vec<Grantee>,
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

    /// True if the current user may enqueue tasks of this type: as a grantee, or as the owner of the tables.
    pub fn may_be_enqueued(&self) -> bool {
        self.granted_to.iter().any(|grantee| grantee.is_current_user()) || catalog::has_rights_of_owner()
    }
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
        let Some((owner, definitions)) = transaction::commit_after(|| {
            let owner = invalidation::is_stale().then(begin_reading).flatten();
            owner.map(|owner| (owner, read_definitions(owner)))
        })?
        else {
            return Ok(());
        };
        let providers = transaction::commit_after(|| read_providers(owner))?;
        TaskDefinitions::keep(TaskDefinitions::of(definitions, providers));
        Ok(())
    }

    fn load() -> TaskDefinitions {
        match begin_reading() {
            Some(owner) => TaskDefinitions::of(read_definitions(owner), read_providers(owner)),
            None => TaskDefinitions::default(),
        }
    }

    fn keep(definitions: TaskDefinitions) {
        invalidation::end_reading();
        CACHE.set(Some(Rc::new(definitions)));
    }

    fn of(definitions: Vec<TaskDefinition>, providers: Vec<Found>) -> TaskDefinitions {
        let lanes = providers.iter().map(|(name, lane, _)| (name.clone(), *lane)).collect();
        TaskDefinitions {
            are_read: true,
            definitions: definitions
                .into_iter()
                .map(|definition| (definition.task_type.clone(), Rc::new(definition)))
                .collect(),
            providers: providers.into_iter().map(|(name, _, provider)| (name, provider)).collect(),
            lanes,
        }
    }

    /// False if there are no tables to read them from.
    pub fn are_read(&self) -> bool {
        self.are_read
    }

    pub fn find(&self, task_type: &str) -> Option<&Rc<TaskDefinition>> {
        self.definitions.get(task_type)
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

    /// Messages and hints for rows of both tables that cannot be used or are missing.
    pub fn problems(&self) -> Vec<(String, &'static str)> {
        let definitions = self.definitions.values().filter_map(|definition| {
            let reason = definition.processor.as_ref().err()?;
            Some(format!("task type \"{}\" cannot be used: {reason}", definition.task_type))
        });
        let providers = self.providers.values().filter_map(|provider| provider.as_ref().err().cloned());
        let unusable = definitions.chain(providers).map(|problem| (problem, MEND));
        let missing = self.missing().into_iter();
        let missing = missing.map(|name| (format!("task type \"{name}\" is missing"), built_in::REMEDY));
        let mut problems: Vec<_> = unusable.chain(missing).collect();
        problems.sort_unstable();
        problems
    }

    /// The built-in task types that are missing.
    fn missing(&self) -> Vec<&'static str> {
        let is_missing = |name: &&str| self.are_read && !self.definitions.contains_key(*name);
        built_in::TASK_TYPES.into_iter().filter(is_missing).collect()
    }

    /// The lane in which the tasks of a definition wait.
    pub fn lane_of(&self, definition: &TaskDefinition) -> Lane {
        if !definition.calls() {
            return Lane::LOCAL;
        }
        definition.provider().map_or(Lane::LAST, |name| self.lane_of_provider(&name))
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

/// A provider as it was read: its name, its lane, and its settings or what is wrong with its row.
type Found = (String, Lane, Result<Arc<Provider>, String>);

/// Invalidates, when the current transaction commits, what all processes have cached of both tables, and which
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

fn read_definitions(owner: pg_sys::Oid) -> Vec<TaskDefinition> {
    session::as_owner(owner, || DEFINITIONS.rows_as_of_now(&[], definition))
}

fn read_providers(owner: pg_sys::Oid) -> Vec<Found> {
    attempt(|| session::as_owner(owner, || PROVIDERS.rows_as_of_now(&[None], provider))).unwrap_or_else(
        |_| {
            // Read the rows one by one, so that only those are missing that cannot be read.
            let name = |row: &Row| row.get::<String>(1).unwrap_or_default();
            let names = session::as_owner(owner, || PROVIDER_NAMES.rows_as_of_now(&[], name));
            names.into_iter().filter_map(|name| read_provider(owner, name)).collect()
        },
    )
}

fn read_provider(owner: pg_sys::Oid, name: String) -> Option<Found> {
    let args = [name.as_str().into_datum()];
    let found = attempt(|| session::as_owner(owner, || PROVIDERS.rows_as_of_now(&args, provider)).pop());
    found.unwrap_or_else(|error| {
        let problem = cannot_be_used(&name, &error.message);
        Some((name, Lane::LAST, Err(problem)))
    })
}

/// Runs `read` in a subtransaction. Returns errors that the content of a row can cause, and raises all others.
fn attempt<R>(read: impl FnOnce() -> R) -> Result<R, PgError> {
    transaction::attempt(read).inspect_err(|error| {
        // Classes: program limit exceeded, insufficient resources, data exception, internal error.
        if !["54", "53", "22", "XX"].iter().any(|class| error.sqlstate.starts_with(class)) {
            log::raise(error);
        }
    })
}

fn definition(row: &Row) -> TaskDefinition {
    let (provider, provider_setting) = (row.get(3), row.get(4));
    let processor = processor_named(&row.get::<String>(2).unwrap_or_default());
    TaskDefinition {
        task_type: row.get(1).unwrap_or_default(),
        processor: processor.and_then(|processor| {
            names_provider(processor, provider.as_deref(), provider_setting.as_deref()).map(|()| processor)
        }),
        provider,
        provider_setting,
        granted_to: row.get(5).map(granted).unwrap_or_default(),
    }
}

/// The fields of a provider's row.
///
/// # Errors
/// If the row is too large. Its size is checked before it is parsed.
pub fn fields(row: pg_sys::Datum) -> Result<serde_json::Value, String> {
    let text = jsonb::to_text(row, MAX_PROVIDER_SIZE)
        .map_err(|_| format!("its row has more than {MAX_PROVIDER_SIZE} bytes as text"))?;
    Ok(json::read(&text)?)
}

fn processor_named(name: &str) -> Result<&'static dyn Processor, String> {
    processor::find(name).ok_or_else(|| format!("there is no processor \"{name}\""))
}

fn names_provider(
    processor: &dyn Processor,
    provider: Option<&str>,
    setting: Option<&str>,
) -> Result<(), String> {
    match setting {
        Some(setting) if !PROVIDER_SETTINGS.contains(&setting) => {
            Err(format!("the setting \"{setting}\" names no provider"))
        }
        None if processor.calls() && provider.is_none() => Err("it names no provider".into()),
        _ => Ok(()),
    }
}

/// Those of these roles that exist.
fn granted(names: Vec<String>) -> Vec<Grantee> {
    names.iter().filter_map(|name| Grantee::named(name)).collect()
}

fn provider(row: &Row) -> Found {
    let name: String = row.get(2).unwrap_or_default();
    // The trigger does not check rows of a dump or of replication.
    let provider = row
        .keep(3)
        .map_or(Err("it has no fields".into()), fields)
        .and_then(|fields| check(fields.clone()).and_then(|()| Provider::of_row(fields)))
        .map(Arc::new)
        .map_err(|reason| cannot_be_used(&name, &reason));
    (name, Lane::call(row.get::<i16>(1).unwrap_or(0)), provider)
}

fn cannot_be_used(provider: &str, reason: &str) -> String {
    format!("provider \"{}\" cannot be used: {reason}", log::excerpt(provider, MAX_SHOWN_NAME))
}
