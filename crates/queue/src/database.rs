//! What is known of a database.

use super::{DatabaseId, MAX_QUIESCERS, NEVER, TableId, Text};

/// The longest pause before the next worker is started after several that did nothing, in microseconds.
pub(super) const LONGEST_PAUSE: i64 = 60_000_000;
/// The longest pause after a bar that came soon after another one, in microseconds. Twice that is soon: then the
/// workers that were started between the two may have been the reason for the second one.
const QUIESCE_PAUSE: i64 = 1_000_000;

/// A database that has the extension, or may have it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Database {
    /// [`DatabaseId::NONE`]: the entry is free.
    pub id: DatabaseId,
    /// The extension was seen there.
    pub has_extension: bool,
    /// It was looked for and not found; the launcher drops the entry.
    pub no_extension: bool,
    /// A worker has to look: the extension may be new, or tasks may be there unannounced.
    pub look: bool,
    /// There is more work than its workers can take up.
    pub needs_worker: bool,
    /// Counts announcements, so that a worker can tell whether it missed one.
    pub announced: u64,
    /// Counts changes of what task types there are.
    pub definition_changes: u64,
    /// When a task falls due next, as far as is known.
    pub next_due: i64,
    /// What was known has come, and nobody has looked for the next one yet.
    pub due_unknown: bool,
    /// The processes that want no worker here (a DROP DATABASE, for instance); 0: nobody.
    pub quiesced_by: [i32; MAX_QUIESCERS],
    /// When the last bar was lifted.
    pub quiesce_ended_at: i64,
    /// How many bars in a row came soon after the one before.
    pub quiesces_in_a_row: u32,
    /// Tasks may become ready without an announcement (PREPARE TRANSACTION).
    pub unannounced: bool,
    /// When a worker was last started to look.
    pub looked_at: i64,
    /// A worker left provider calls behind that another one has to take over.
    pub orphans: bool,
    /// What tasks that are enqueued here carry, once a worker has found it in the table `home`.
    pub origin: Option<i64>,
    pub home: TableId,
    /// Tasks of another database may have come, which has to be said …
    pub unadopted_to_report: bool,
    /// … unless it was.
    pub reported_unadopted: bool,
    /// When finished tasks were last looked through for removal.
    pub retained_at: i64,
    /// Workers that ended without having done anything, one after the other.
    pub failures: u32,
    pub failed_at: i64,
    /// It was said that the role lacks rights,
    pub reported_rights: bool,
    /// and that the library is not the one for the tables.
    pub reported_version: bool,
    /// It was said that the lease of a task had ended before the task.
    pub reported_lease: bool,
    /// A digest of what was said of rows that cannot be used; 0: nothing.
    pub reported_rows: i64,
    /// What ALTER DATABASE … SET says of `pg_errand.poll_interval`, in milliseconds,
    pub poll_interval: Option<i32>,
    /// of `pg_errand.role` (empty: nothing) …
    pub role: Text<64>,
    /// … and of `pg_errand.concurrency`.
    pub concurrency: Option<i32>,
    /// What is stored of `default_transaction_read_only` for sessions of the workers' role.
    pub read_only: Option<bool>,
    /// A digest of all settings that a worker starts with.
    pub settings: u64,
    /// The value of `settings_changes` when those were read; 0: never.
    pub settings_as_of: u64,
}

impl Database {
    pub(super) const FREE: Database = Database {
        id: DatabaseId::NONE,
        has_extension: false,
        no_extension: false,
        look: false,
        needs_worker: false,
        announced: 0,
        definition_changes: 0,
        next_due: NEVER,
        due_unknown: false,
        quiesced_by: [0; MAX_QUIESCERS],
        quiesce_ended_at: 0,
        quiesces_in_a_row: 0,
        unannounced: false,
        looked_at: 0,
        orphans: false,
        origin: None,
        home: TableId::NONE,
        unadopted_to_report: false,
        reported_unadopted: false,
        retained_at: 0,
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

    /// No extension was found there, unless one has come meanwhile.
    pub fn note_no_extension(&mut self) {
        if !self.look {
            self.no_extension = true;
            self.has_extension = false;
        }
    }

    /// True if a worker should be there at `now`.
    pub fn has_work(&self, now: i64) -> bool {
        self.look || self.needs_worker || self.orphans || self.next_due <= now
    }

    /// True if something has fallen due: whoever asks sees to it, and to what comes next.
    pub(super) fn consume_due(&mut self, now: i64) -> bool {
        let due = self.next_due <= now;
        if due {
            self.next_due = NEVER;
            self.due_unknown = true;
        }
        due
    }

    /// Not before this time may the next worker be started: at once after a first failure, then
    /// after 1 s, 2 s, 4 s … up to a minute; and up to a second after bars that came in a row.
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

    /// Process `by` bars workers from this database; false if too many processes do.
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

    /// Lifts the bar of process `by`.
    pub(super) fn end_quiesce(&mut self, by: i32, now: i64) {
        for pid in self.quiesced_by.iter_mut().filter(|pid| **pid == by) {
            *pid = 0;
            self.look = true;
            self.quiesce_ended_at = now;
        }
    }

    /// True while somebody wants no worker here.
    pub fn is_quiesced(&self) -> bool {
        self.quiesced_by.iter().any(|pid| *pid != 0)
    }

    pub(super) fn count_failure(&mut self, now: i64) {
        self.failures = self.failures.saturating_add(1);
        self.failed_at = now;
        self.look = true;
    }
}
