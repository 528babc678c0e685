//! Signals: what other processes request of a worker, read once a turn.

use crate::pg::shmem::Shared;
use crate::shared::{DatabaseId, LaneSet, Queue};

/// Whether a worker has read the current settings that are stored for databases and roles.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Settings {
    Same,
    /// The stored settings may have changed, and are being read.
    Unknown,
    Changed,
}

/// What other processes request of a worker.
#[derive(Clone, Copy)]
pub struct Signals {
    /// When the signals were read, in microseconds since 2000-01-01.
    pub at: i64,
    /// The worker has to exit.
    pub retire: bool,
    /// The worker has to reload the configuration.
    pub reload: bool,
    /// Calls of the worker were cancelled.
    pub cancels: bool,
    /// The value of `Database::announced`.
    pub announced: u64,
    /// The value of `Database::definition_changes`.
    pub definition_changes: u64,
    /// No task may start.
    pub starts_nothing: bool,
    /// A pause is over, and its row has to be removed.
    pub pause_over: bool,
    /// There are orphaned calls.
    pub orphans: bool,
    /// A task may have fallen due.
    pub due: bool,
    /// A sweep is due, which finds tasks that were not announced.
    pub sweep: bool,
    /// It is not known when the next task falls due, or a prepared transaction may add tasks.
    pub look_ahead: bool,
    /// The lanes in which tasks are known to wait.
    pub waiting: LaneSet,
    /// The value of `Shared::resumes`.
    pub resumes: u64,
    /// The value of `Database::unadopted_to_report`.
    pub unadopted_to_report: bool,
    pub settings: Settings,
}

impl Signals {
    /// The signals for the worker of `slot` in the database `id`.
    pub(super) fn read(
        shared: &Shared,
        slot: usize,
        id: DatabaseId,
        now: i64,
        poll_interval: i64,
    ) -> Signals {
        let own = &shared.slots[slot];
        let database = shared.databases.iter().find(|database| database.id == id);
        Signals {
            at: now,
            retire: own.retire,
            reload: own.reload,
            cancels: own.has_cancels,
            announced: database.map_or(0, |database| database.announced),
            definition_changes: database.map_or(0, |database| database.definition_changes),
            starts_nothing: database.is_some_and(|database| database.starts_nothing()),
            pause_over: database.is_some_and(|database| database.pause_over || database.pause_ends_at <= now),
            orphans: database.is_some_and(|database| database.orphans),
            due: database.is_some_and(|database| database.due_unknown || database.next_due <= now),
            sweep: shared.queue_of(id).is_none_or(|queue| queue.wants_sweep(now, poll_interval)),
            look_ahead: database.is_none_or(|database| database.due_unknown || database.unannounced),
            waiting: shared.queue_of(id).map_or(LaneSet::NONE, Queue::waiting),
            resumes: shared.resumes,
            unadopted_to_report: database.is_some_and(|database| database.unadopted_to_report),
            settings: database.map_or(Settings::Same, |database| {
                if database.settings_as_of != shared.settings_changes {
                    Settings::Unknown
                } else if database.settings != own.stored_settings {
                    Settings::Changed
                } else {
                    Settings::Same
                }
            }),
        }
    }
}
