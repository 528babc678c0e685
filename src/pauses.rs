//! Pauses: the rows of `queues.paused`.

use crate::pg::spi::{Row, Statement};
use crate::pg::{backend, catalog, session, shmem};
use crate::shared::{NEVER, ToId};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;
use std::collections::HashMap;

static PAUSES: Statement = Statement::new(include_str!("../sql/runtime/pauses.sql"), &[]);

/// A pause of the database, of a task type or of a provider.
#[derive(Clone)]
pub struct Pause {
    /// The time at which it ends by itself, in microseconds since 2000-01-01, or `NEVER`.
    pub until: i64,
    pub reason: Option<String>,
    /// The role that has begun it.
    pub by: String,
}

/// All pauses that had not ended when they were read.
#[derive(Default)]
pub struct Pauses {
    pub database: Option<Pause>,
    pub types: HashMap<String, Pause>,
    pub providers: HashMap<String, Pause>,
}

impl Pauses {
    /// Reads them as the owner of the tables.
    pub fn read(owner: pg_sys::Oid) -> Pauses {
        let mut pauses = Pauses::default();
        // Version 0.6.0 has no such table until the extension is updated.
        let table = catalog::relation(c"queues", c"paused");
        if table.is_none_or(catalog::has_no_page) {
            return pauses;
        }
        for (task_type, provider, pause) in session::as_owner(owner, || PAUSES.rows_as_of_now(&[], pause)) {
            match (task_type, provider) {
                (Some(task_type), _) => _ = pauses.types.insert(task_type, pause),
                (None, Some(provider)) => _ = pauses.providers.insert(provider, pause),
                (None, None) => pauses.database = Some(pause),
            }
        }
        pauses
    }

    /// When the next one ends by itself; `NEVER` if none does.
    pub fn next_end(&self) -> i64 {
        let all = self.types.values().chain(self.providers.values()).chain(&self.database);
        all.map(|pause| pause.until).min().unwrap_or(NEVER)
    }
}

fn pause(row: &Row) -> (Option<String>, Option<String>, Pause) {
    let until = row.get::<TimestampWithTimeZone>(c"paused_until").map_or(NEVER, i64::from);
    let by = row.get(c"paused_by").unwrap_or_default();
    (row.get(c"task_type"), row.get(c"provider"), Pause { until, reason: row.get(c"reason"), by })
}

/// The number of changes of definitions, providers and pauses that have been announced.
pub fn changes() -> u64 {
    if !shmem::available() {
        return 0;
    }
    let id = backend::database().id();
    shmem::read(|shared| {
        let database = shared.databases.iter().find(|database| database.id == id);
        database.map_or(0, |database| database.definition_changes)
    })
}
