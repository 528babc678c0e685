//! What an operator has paused, and what is said about it.

use super::parts::{Names, Text};
use super::rows::TaskRow;
use crate::pauses::Pause;
use crate::pg::time::time_text;
use crate::pg::{backend, log, shmem};
use crate::shared::{NEVER, Paused, ToId};
use crate::task_definition::{MAX_SHOWN_NAME, TaskDefinition, TaskDefinitions};

/// The pause that keeps a task from starting. Between the steps of its call, only that of its provider matters.
pub fn of(
    definitions: &TaskDefinitions,
    definition: &TaskDefinition,
    row: &TaskRow,
) -> Option<(Paused, Option<Pause>)> {
    if row.is_calling {
        let pause = definitions.provider_pause(row.provider.as_deref()?)?;
        return Some((Paused::Provider(pause.until), Some(pause.clone())));
    }
    let of_type = || definitions.type_pause(&row.task_type).map(|pause| (Paused::Type(pause.until), pause));
    let of_provider =
        || definitions.pause_behind(definition).map(|pause| (Paused::Provider(pause.until), pause));
    let own = || of_type().or_else(of_provider).map(|(paused, pause)| (paused, Some(pause.clone())));
    of_database(definitions).or_else(own)
}

/// The pause of the database.
pub fn of_database(definitions: &TaskDefinitions) -> Option<(Paused, Option<Pause>)> {
    if let Some(pause) = definitions.database_pause() {
        return Some((Paused::Database(pause.until), Some(pause.clone())));
    }
    let id = backend::database().id();
    let drained_by = shmem::available().then(|| {
        shmem::read(|shared| shared.databases.iter().find(|database| database.id == id)?.drained_by())
    });
    drained_by.flatten().map(|pid| (Paused::Draining(pid), None))
}

/// What is said about a pause.
pub fn sentence(paused: Paused, names: &Names) -> Text {
    let text = |what: &str| Text::new(format!("{what} is paused{}.", details(names)));
    match paused {
        Paused::Database(_) => text("The database").hint("Run: SELECT queues.resume();"),
        Paused::Type(_) => text(&format!("Task type \"{}\"", names.task_type))
            .hint(format!("Run: SELECT queues.resume({});", literal(&names.task_type))),
        Paused::Provider(_) => text(&format!("Provider \"{}\"", names.provider)).hint(resume(&names.provider)),
        Paused::Draining(pid) => Text::new(format!("Process {pid} drains the database with queues.drain."))
            .by(pid)
            .hint("See pg_stat_activity. The pause lasts after its transaction has committed, until queues.resume."),
    }
}

/// The hint for a paused provider.
pub fn resume(provider: &str) -> String {
    format!("Run: SELECT queues.resume_provider({});", literal(provider))
}

/// The hint for an open circuit breaker.
pub fn close_breaker(provider: &str) -> String {
    format!(
        "See queues.provider_status, and queues.failures(). To close the circuit breaker, run: \
         UPDATE queues.provider SET name = name WHERE name = {};",
        literal(provider)
    )
}

/// Until when, by whom and why.
pub fn details(names: &Names) -> String {
    let Some(Pause { until, reason, by }) = &names.pause else { return String::new() };
    let until = if *until == NEVER { String::new() } else { format!(" until {}", time_text(*until)) };
    let reason = reason.as_deref().map(|reason| format!(": {}", log::excerpt(reason, MAX_SHOWN_NAME)));
    format!("{until} by role \"{by}\"{}", reason.unwrap_or_default())
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
