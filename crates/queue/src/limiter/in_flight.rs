//! The calls of a worker that count towards `max_in_flight`.

use crate::lane::LANES;

/// The number of calls that a worker has in flight, by account.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct InFlight {
    /// Accounts and their calls; account 0 marks a free entry.
    counts: [(u64, u32); LANES],
}

impl InFlight {
    pub const NONE: InFlight = InFlight { counts: [(0, 0); LANES] };

    pub fn of(&self, account: u64) -> u32 {
        self.counts.iter().find(|(known, _)| *known == account).map_or(0, |(_, calls)| *calls)
    }

    pub fn accounts(self) -> impl Iterator<Item = u64> {
        self.counts.into_iter().map(|(account, _)| account).filter(|account| *account != 0)
    }

    /// Adds a call. If there is no room for another account, the call is not counted.
    pub fn add(&mut self, account: u64) {
        let _ = self.try_add(account);
    }

    /// Adds a call; false if there is no room for another account.
    pub(crate) fn try_add(&mut self, account: u64) -> bool {
        let known = self.counts.iter().position(|(known, _)| *known == account);
        let place = known.or_else(|| self.counts.iter().position(|(known, _)| *known == 0));
        if let Some(place) = place {
            self.counts[place].0 = account;
            self.counts[place].1 += 1;
        }
        place.is_some()
    }

    /// Removes a call that was added.
    pub fn remove(&mut self, account: u64) {
        if let Some((known, calls)) = self.counts.iter_mut().find(|(known, _)| *known == account) {
            *calls = calls.saturating_sub(1);
            *known = if *calls == 0 { 0 } else { *known };
        }
    }
}
