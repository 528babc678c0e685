//! Types of tasks, and the providers that they go to: what `queues.task_definition` and `queues.provider` say,
//! cached in each process until one of them changes.

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

/// Bytes of a provider's row at most, as text: each session reads all rows.
const MAX_PROVIDER_SIZE: usize = 1024 * 1024;
/// How much of a name messages show, in bytes.
pub const MAX_SHOWN_NAME: usize = 300;

/// Settings that name a provider, see `queues.task_definition_before_write_checked`.
/// What to do if a row cannot be used.
pub const MEND: &str = "Mend its row in queues.task_definition, or the one in queues.provider.";

const PROVIDER_SETTINGS: [&str; 2] = ["pg_errand.email_provider", "pg_errand.sms_provider"];

thread_local! {
    static CACHE: RefCell<Option<Rc<TaskDefinitions>>> = const { RefCell::new(None) };
}

/// All types of tasks.
pub struct TaskDefinitions {
    definitions: HashMap<String, Rc<TaskDefinition>>,
    providers: HashMap<String, Result<Arc<Provider>, String>>,
    lanes: HashMap<String, Lane>,
}

/// A type of tasks.
pub struct TaskDefinition {
    pub task_type: String,
    /// Its processor, or what is wrong with its row.
    pub processor: Result<&'static dyn Processor, String>,
    provider: Option<String>,
    provider_setting: Option<String>,
    granted_to: Vec<Grantee>,
}

impl TaskDefinition {
    /// The name of the provider that its tasks go to, if they go to one.
    pub fn provider(&self) -> Option<String> {
        self.provider.clone().or_else(|| guc::value(self.provider_setting.as_deref()?))
    }

    /// True if its tasks need a provider call.
    pub fn calls(&self) -> bool {
        self.processor.as_ref().is_ok_and(|processor| processor.calls())
    }

    /// True if the current user may enqueue such tasks: `owner` of the queue may, and who it was granted to.
    pub fn may_be_enqueued(&self) -> bool {
        self.granted_to.iter().any(|grantee| grantee.is_current_user()) || catalog::has_rights_of_owner()
    }
}

impl TaskDefinitions {
    /// What is known now.
    pub fn now() -> Rc<TaskDefinitions> {
        if invalidation::is_stale() {
            TaskDefinitions::keep(TaskDefinitions::load());
        }
        TaskDefinitions::known()
    }

    /// What was known when it was last asked for. For workers, who hold locks and must not wait for others: what
    /// drops these tables would wait for them.
    pub fn known() -> Rc<TaskDefinitions> {
        CACHE.with_borrow(|cache| cache.clone()).unwrap_or_else(|| Rc::new(TaskDefinitions::of_old_tables()))
    }

    /// Reads again what has changed, outside of a transaction.
    ///
    /// # Errors
    /// When the tables cannot be read.
    pub fn refresh() -> Result<(), PgError> {
        // Messages of changes come as a transaction starts.
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
            None => TaskDefinitions::of_old_tables(),
        }
    }

    fn keep(definitions: TaskDefinitions) {
        invalidation::end_reading();
        CACHE.set(Some(Rc::new(definitions)));
    }

    fn of(definitions: Vec<TaskDefinition>, providers: Vec<Found>) -> TaskDefinitions {
        let lanes = providers.iter().map(|(name, lane, _)| (name.clone(), *lane)).collect();
        TaskDefinitions {
            definitions: definitions
                .into_iter()
                .map(|definition| (definition.task_type.clone(), Rc::new(definition)))
                .collect(),
            providers: providers.into_iter().map(|(name, _, provider)| (name, provider)).collect(),
            lanes,
        }
    }

    /// The tables are those of a version that had no such rows: its tasks are enqueued, and wait for the
    /// update.
    fn of_old_tables() -> TaskDefinitions {
        let definition = |name: &str| {
            let definition = TaskDefinition {
                task_type: name.into(),
                processor: processor_named("db_function"),
                provider: None,
                provider_setting: None,
                granted_to: Grantee::named("public").into_iter().collect(),
            };
            (name.to_owned(), Rc::new(definition))
        };
        let definitions = ["db_function", "email", "sms"].into_iter().map(definition).collect();
        TaskDefinitions { definitions, providers: HashMap::new(), lanes: HashMap::new() }
    }

    pub fn find(&self, task_type: &str) -> Option<&Rc<TaskDefinition>> {
        self.definitions.get(task_type)
    }

    /// The provider that the tasks of a definition go to.
    ///
    /// # Errors
    /// Why there is none.
    pub fn provider_of(&self, definition: &TaskDefinition) -> Result<Arc<Provider>, String> {
        let name = definition
            .provider()
            .ok_or_else(|| format!("task type {} has no provider", definition.task_type))?;
        let provider = self.provider(&name)?;
        task_type::check(&definition.task_type, &provider)
            .map_err(|reason| format!("provider \"{name}\" cannot be used for them: {reason}"))?;
        Ok(provider)
    }

    /// # Errors
    /// Why the tasks of a definition cannot be sent anywhere.
    pub fn check_provider_of(&self, definition: &TaskDefinition) -> Result<(), String> {
        let calls = definition.processor.as_ref().map_err(String::clone)?.calls();
        if calls { self.provider_of(definition).map(drop) } else { Ok(()) }
    }

    /// The provider of that name.
    ///
    /// # Errors
    /// That there is none, or what is wrong with its row.
    pub fn provider(&self, name: &str) -> Result<Arc<Provider>, String> {
        self.providers.get(name).cloned().unwrap_or_else(|| Err(format!("there is no provider \"{name}\"")))
    }

    /// What is wrong with rows of both tables, for the log.
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

    /// The task types that are built in and nevertheless not there.
    fn missing(&self) -> Vec<&'static str> {
        let are_old_tables = self.providers.is_empty() && !self.definitions.is_empty();
        let is_missing = |name: &&str| !are_old_tables && !self.definitions.contains_key(*name);
        built_in::KINDS.into_iter().filter(is_missing).collect()
    }

    /// Where the tasks of a definition wait.
    pub fn lane_of(&self, definition: &TaskDefinition) -> Lane {
        if !definition.calls() {
            return Lane::LOCAL;
        }
        definition.provider().map_or(Lane::LAST, |name| self.lane_of_provider(&name))
    }

    pub fn lane_of_provider(&self, name: &str) -> Lane {
        self.lanes.get(name).copied().unwrap_or(Lane::LAST)
    }

    /// The lanes in which tasks may wait.
    pub fn lanes(&self) -> LaneSet {
        self.definitions.values().fold(LaneSet::LOCAL, |set, definition| set.with(self.lane_of(definition)))
    }

    /// The types whose tasks wait in a lane; for the local one: in any other.
    pub fn types_for(&self, lane: Lane) -> Vec<&str> {
        let wanted = |definition: &&Rc<TaskDefinition>| match lane {
            Lane::LOCAL => self.lane_of(definition) != Lane::LOCAL,
            lane => self.lane_of(definition) == lane,
        };
        self.definitions.values().filter(wanted).map(|definition| definition.task_type.as_str()).collect()
    }

    /// The names of all, for messages.
    pub fn names(&self) -> String {
        if self.definitions.is_empty() {
            return "none".to_owned();
        }
        let mut names: Vec<&str> = self.definitions.keys().map(String::as_str).collect();
        names.sort_unstable();
        names.join(", ")
    }
}

/// Name, lane, and the provider, or what is wrong with its row.
type Found = (String, Lane, Result<Arc<Provider>, String>);

/// Makes every process read the tables again, and check again which functions may be handlers, after the commit of the
/// current transaction.
pub fn announce_change() {
    if let Some(table) = watched() {
        invalidation::announce(table);
    }
}

/// The table that stands for both.
fn watched() -> Option<pg_sys::Oid> {
    catalog::relation(c"queues", c"task_definition")
}

/// The owner of the tables, if there are any.
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
            // Read one by one, so that only the row that cannot be read is left out.
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

/// Runs `read` in a subtransaction. Returns errors that a row can cause by what it holds; other errors are raised.
fn attempt<R>(read: impl FnOnce() -> R) -> Result<R, PgError> {
    transaction::attempt(read).inspect_err(|error| {
        // Program limits, insufficient resources, data exceptions, internal errors.
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

/// A provider's row, measured before it is read.
///
/// # Errors
/// That it is too large.
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

/// The roles of these names that exist.
fn granted(names: Vec<String>) -> Vec<Grantee> {
    names.iter().filter_map(|name| Grantee::named(name)).collect()
}

fn provider(row: &Row) -> Found {
    let name: String = row.get(2).unwrap_or_default();
    // A row that got in without the trigger's check (a dump, replication) is checked here.
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
