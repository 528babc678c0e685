//! The entry of a database.

use crate::ids::{DatabaseId, TableId};
use crate::numbers::NEVER;
use crate::retained::Retained;
use crate::service::{Service, SetFor};
use crate::sizes::MAX_QUIESCERS;
use crate::text::Text;

/// The longest pause before a worker is started after several workers that failed, in microseconds.
pub(super) const LONGEST_PAUSE: i64 = 60_000_000;
/// The longest pause after commands that quiesce the database in a row, in microseconds. Commands are in a row if the
/// time between them is less than twice this pause: the workers that were started in between may have caused the second
/// one.
const QUIESCE_PAUSE: i64 = 1_000_000;

/// A database that has the extension, or may have it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Database {
    /// [`DatabaseId::NONE`]: the entry is free.
    pub id: DatabaseId,
    /// The database is known to have the extension.
    pub has_extension: bool,
    /// How the launcher serves the database.
    pub service: Service,
    /// A worker found no extension, so the launcher removes the entry.
    pub no_extension: bool,
    /// A worker has to be started: the extension may be new, or there may be tasks that were not announced.
    pub look: bool,
    /// The workers of the database cannot process all of its tasks.
    pub needs_worker: bool,
    /// The number of announcements, by which a worker can determine whether it missed one.
    pub announced: u64,
    /// The number of changes of task definitions and providers.
    pub definition_changes: u64,
    /// The time at which the next known task falls due.
    pub next_due: i64,
    /// A pause of the database is in `queues.paused`, as a worker has read it.
    pub paused: bool,
    /// The time at which the next pause in `queues.paused` ends, of the database, a task type or a provider.
    pub pause_ends_at: i64,
    /// The time of `pause_ends_at` has come, and no worker has ended that pause yet.
    pub pause_over: bool,
    /// The process IDs of sessions that drain the database; 0 for a free entry.
    pub drained_by: [i32; MAX_QUIESCERS],
    /// The time of the next due task is unknown, since no worker has looked it up after the last one fell due.
    pub due_unknown: bool,
    /// The process IDs of sessions that quiesce the database, for example for DROP DATABASE; 0 for a free entry.
    pub quiesced_by: [i32; MAX_QUIESCERS],
    /// The time at which the last such session stopped quiescing the database.
    pub quiesce_ended_at: i64,
    /// The number of times in a row that the database was quiesced shortly after the previous time.
    pub quiesces_in_a_row: u32,
    /// Tasks may become ready without an announcement (PREPARE TRANSACTION).
    pub unannounced: bool,
    /// The time at which the last worker was started.
    pub looked_at: i64,
    /// When the launcher last could start no process for a worker that it wanted, if it has started none since.
    pub no_process_at: i64,
    /// There are orphaned calls.
    pub orphans: bool,
    /// The number of events that may have left orphaned calls.
    pub(crate) orphanings: u64,
    /// The value of `orphanings` up to which all orphaned calls have been taken over.
    pub(crate) orphanings_seen: u64,
    /// The number of events that may have leased tasks to workers outside.
    pub(crate) leasings: u64,
    /// The value of `leasings` as of which no task was leased.
    pub(crate) leasings_seen: u64,
    /// The origin of tasks that are enqueued here, once a worker has read it from the table `home`.
    pub origin: Option<i64>,
    pub home: TableId,
    /// There may be new unadopted tasks that have to be reported.
    pub unadopted_to_report: bool,
    /// Unadopted tasks have been reported.
    pub reported_unadopted: bool,
    /// The searches for finished tasks to remove.
    pub retained: Retained,
    /// The number of consecutive workers that ended without having done anything.
    pub failures: u32,
    pub failed_at: i64,
    /// The missing privileges of the role have been reported.
    pub reported_rights: bool,
    /// The version mismatch between library and tables has been reported.
    pub reported_version: bool,
    /// The end of a lease before the end of its task has been reported.
    pub reported_lease: bool,
    /// A digest of the reported rows that cannot be used; 0 if there are none.
    pub reported_rows: i64,
    /// The value of `pg_errand.poll_interval` that ALTER DATABASE … SET has stored, in milliseconds.
    pub poll_interval: Option<i32>,
    /// The value of `pg_errand.role` that ALTER DATABASE … SET has stored; empty if there is none.
    pub role: Text<64>,
    /// The value of `pg_errand.concurrency` that ALTER DATABASE … SET has stored.
    pub concurrency: Option<i32>,
    /// The stored value of `default_transaction_read_only` for sessions of the workers' role, and where it is stored.
    pub read_only: Option<(bool, SetFor)>,
    /// A digest of all settings that a worker starts with.
    pub settings: u64,
    /// The value of `settings_changes` as of which the stored settings were read; 0 if they were not.
    pub settings_as_of: u64,
}

impl Database {
    pub(super) const FREE: Database = Database {
        id: DatabaseId::NONE,
        has_extension: false,
        service: Service::Undecided,
        no_extension: false,
        look: false,
        needs_worker: false,
        announced: 0,
        definition_changes: 0,
        next_due: NEVER,
        paused: false,
        pause_ends_at: NEVER,
        pause_over: false,
        drained_by: [0; MAX_QUIESCERS],
        due_unknown: false,
        quiesced_by: [0; MAX_QUIESCERS],
        quiesce_ended_at: 0,
        quiesces_in_a_row: 0,
        unannounced: false,
        looked_at: 0,
        no_process_at: i64::MIN,
        orphans: false,
        // A crash may have left some.
        orphanings: 1,
        orphanings_seen: 0,
        leasings: 1,
        leasings_seen: 0,
        origin: None,
        home: TableId::NONE,
        unadopted_to_report: false,
        reported_unadopted: false,
        retained: Retained::UNKNOWN,
        failures: 0,
        failed_at: 0,
        reported_rights: false,
        reported_version: false,
        reported_lease: false,
        reported_rows: 0,
        poll_interval: None,
        role: Text::EMPTY,
        concurrency: None,
        read_only: None,
        settings: 0,
        settings_as_of: 0,
    };

    /// Notes that a worker found no extension, unless one was created meanwhile.
    pub fn note_no_extension(&mut self) {
        if !self.look {
            self.no_extension = true;
            self.has_extension = false;
        }
    }

    /// True if a worker should be running at `now`.
    pub fn has_work(&self, now: i64) -> bool {
        self.look || self.orphans || self.due_at() <= now || self.needs_worker && !self.starts_nothing()
    }

    /// The time at which a worker has something to do that is not announced: a task falls due, or a pause ends.
    pub fn due_at(&self) -> i64 {
        let next_due = if self.starts_nothing() { NEVER } else { self.next_due };
        next_due.min(self.pause_ends_at)
    }

    /// True if a task has fallen due. The caller has to look for it, and for the next due time. Also notes that a pause
    /// is over.
    pub(super) fn consume_due(&mut self, now: i64) -> bool {
        if self.pause_ends_at <= now {
            self.pause_ends_at = NEVER;
            self.pause_over = true;
        }
        let due = self.next_due <= now;
        if due {
            self.next_due = NEVER;
            self.due_unknown = true;
        }
        due
    }

    /// The earliest time at which the next worker may be started: immediately after a first failure, then after 1 s, 2
    /// s, 4 s and so on up to a minute, and up to a second after consecutive commands that quiesced the database.
    pub fn start_allowed_at(&self) -> i64 {
        let after_failures = match self.failures {
            0 | 1 => 0,
            n => self.failed_at + (1_000_000 << (n - 2).min(6)).min(LONGEST_PAUSE),
        };
        let after_quiesces = match self.quiesces_in_a_row {
            0 => 0,
            n => self.quiesce_ended_at + (10_000 << n.min(7)).min(QUIESCE_PAUSE),
        };
        after_failures.max(after_quiesces)
    }

    /// Quiesces the database for process `by`; false if too many processes do so already.
    pub(super) fn quiesce(&mut self, by: i32, now: i64) -> bool {
        if self.quiesced_by.contains(&by) {
            return true;
        }
        let was_quiesced = self.is_quiesced();
        let Some(free) = self.quiesced_by.iter_mut().find(|pid| **pid == 0) else { return false };
        *free = by;
        if !was_quiesced {
            let again = self.quiesce_ended_at + 2 * QUIESCE_PAUSE > now;
            self.quiesces_in_a_row = if again { self.quiesces_in_a_row.saturating_add(1) } else { 0 };
        }
        true
    }

    /// Ends what process `by` began with [`Database::quiesce`].
    pub(super) fn end_quiesce(&mut self, by: i32, now: i64) {
        for pid in self.quiesced_by.iter_mut().filter(|pid| **pid == by) {
            *pid = 0;
            self.look = true;
            self.quiesce_ended_at = now;
        }
    }

    /// True while no worker may run here.
    pub fn is_quiesced(&self) -> bool {
        self.quiesced_by.iter().any(|pid| *pid != 0)
    }

    pub(super) fn count_failure(&mut self, now: i64) {
        self.failures = self.failures.saturating_add(1);
        self.failed_at = now;
        self.look = true;
    }
}
