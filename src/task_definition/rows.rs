//! Reads task definitions and providers, and checks them: rows of a dump or of replication were not checked by triggers.

use super::definition::TaskDefinition;
use crate::error::PgError;
use crate::grantee::Grantee;
use crate::pg::spi::{Row, Statement};
use crate::pg::{jsonb, log, session, transaction};
use crate::processor::{self, Processor};
use crate::shared::{Ageing, Lane};
use crate::start_limits::{self, KeyLimits};
use pg_errand_calls::json;
use pg_errand_calls::provider::Provider;
use pg_errand_calls::provider::check::check;
use pgrx::pg_sys::BuiltinOid::TEXTOID;
use pgrx::{IntoDatum, pg_sys};
use std::sync::Arc;

static DEFINITIONS: Statement = Statement::new(include_str!("../../sql/runtime/task_definitions.sql"), &[]);
static PROVIDERS: Statement = Statement::new(include_str!("../../sql/runtime/providers.sql"), &[TEXTOID]);
static PROVIDER_NAMES: Statement = Statement::new(include_str!("../../sql/runtime/provider_names.sql"), &[]);

/// The largest size of a provider's row as text, in bytes: each session reads all rows.
const MAX_PROVIDER_SIZE: usize = 1024 * 1024;
/// The number of bytes of a name that messages show.
pub const MAX_SHOWN_NAME: usize = 300;

/// Settings that name a provider, see `errand.task_definition_before_write_checked`.
const PROVIDER_SETTINGS: [&str; 2] = ["pg_errand.email_provider", "pg_errand.sms_provider"];

/// A provider as it was read: its name, its lane, and its settings or what is wrong with its row.
pub type Found = (String, Lane, Result<Arc<Provider>, String>);

/// The rows of `queues.task_definition`, with the privileges of their owner.
pub fn read_definitions(owner: pg_sys::Oid) -> Vec<TaskDefinition> {
    session::as_owner(owner, || DEFINITIONS.rows_as_of_now(&[], definition))
}

/// The rows of `queues.provider`, with the privileges of their owner.
pub fn read_providers(owner: pg_sys::Oid) -> Vec<Found> {
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
    let task_type: String = row.get(1).unwrap_or_default();
    let processor = processor_named(&row.get::<String>(2).unwrap_or_default());
    let calls = processor.as_ref().is_ok_and(|processor| processor.calls());
    TaskDefinition {
        limits: start_limits::of_row(&task_type, row.get(6), row.get(7), row.get(8), calls),
        key_limits: KeyLimits::of_row(row.get(9), row.get(10)),
        ageing: row.get(11).map_or(Ageing::NONE, Ageing::every),
        task_type,
        processor: processor.and_then(|processor| {
            names_provider(processor, provider.as_deref(), provider_setting.as_deref()).map(|()| processor)
        }),
        provider,
        provider_setting,
        granted_to: row.get(5).map(granted).unwrap_or_default(),
        redacts_payload: row.get(12) == Some(true),
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
