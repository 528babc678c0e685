//! Starts of limited task types by workers outside. A session reserves a start until its transaction ends; from then on the
//! lease counts, which is in the task's row.

use crate::ids::DatabaseId;
use crate::latch::Latch;
use crate::limiter::Admission;
use crate::limits::{MAX_OUTSIDE, OutsideStart, StartLimits};
use crate::shared::Shared;

/// A session that starts tasks of limited types for a worker outside.
pub struct Outside {
    pub database: DatabaseId,
    /// Its process ID.
    pub session: i32,
    /// The number of leased tasks of the type.
    pub leased: u32,
}

impl<L: Latch, const S: usize, const D: usize, const W: usize, const C: usize, const A: usize>
    Shared<L, S, D, W, C, A>
{
    /// Reserves a start for a session; false if it is refused.
    pub fn start_outside(&mut self, by: &Outside, limits: &StartLimits, now: i64) -> bool {
        self.note_limits();
        let Outside { database, session, .. } = *by;
        if self.is_uncounted(database, limits) {
            return false;
        }
        let account = limits.terms.account;
        let running = self.running_beside(by, account);
        let Some(free) = self.outside.iter().position(|start| start.session == 0) else { return false };
        let is_admitted = self.limiter.admit(database, &limits.terms, running, now) == Admission::Admitted;
        if is_admitted {
            self.outside[free] = OutsideStart { database, account, session };
        }
        is_admitted
    }

    /// Whether [`Shared::start_outside`] would reserve a start, unless too many sessions have.
    pub fn has_start_outside(&self, by: &Outside, limits: &StartLimits, now: i64) -> bool {
        let running = self.running_beside(by, limits.terms.account);
        !self.is_uncounted(by.database, limits)
            && self.limiter.refusal(by.database, &limits.terms, running, now).is_none()
    }

    /// The number of tasks of a type that run. The session has counted its own leases, although its transaction has not
    /// ended.
    fn running_beside(&self, by: &Outside, account: u64) -> u32 {
        let others = self.reserved_outside(by.database, account, by.session);
        self.running_inside(by.database, account) + others + by.leased
    }

    /// The starts of a type that sessions other than `session` have reserved.
    pub(super) fn reserved_outside(&self, database: DatabaseId, account: u64, session: i32) -> u32 {
        let is_it = |start: &&OutsideStart| {
            start.session != 0
                && start.session != session
                && start.database == database
                && start.account == account
        };
        self.outside.iter().filter(is_it).count() as u32
    }

    /// Ends the reservations of a session, whose transaction has ended.
    pub fn end_outside(&mut self, session: i32) {
        for index in 0..MAX_OUTSIDE {
            let OutsideStart { database, account, session: own } = self.outside[index];
            if own == session {
                self.outside[index] = OutsideStart::FREE;
                if self.queue(database).is_some_and(|queue| queue.open(account, false)) {
                    self.wake(database, 1);
                }
            }
        }
    }

    /// True if tasks of a database may be leased. Also returns what [`Shared::see_no_leases`] needs.
    pub fn may_have_leases(&mut self, id: DatabaseId) -> (bool, u64) {
        let changes = self.database(id).map_or((1, 0), |known| (known.leasings, known.leasings_seen));
        (changes.0 != changes.1, changes.0)
    }

    /// Notes that no task of a database was leased after [`Shared::may_have_leases`] returned `leasings`.
    pub fn see_no_leases(&mut self, id: DatabaseId, leasings: u64) {
        let is_reserved = self.outside.iter().any(|start| start.session != 0 && start.database == id);
        if let Some(database) = self.database(id).filter(|_| !is_reserved) {
            database.leasings_seen = leasings;
        }
    }
}
