//! How often tasks of one key start: a bucket for each key that has started a task lately.

use crate::ids::DatabaseId;
use crate::key_line::Key;
use crate::limiter::{Admission, Bucket};

/// The number of places that a key can have.
const PLACES: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KeyRates<const SETS: usize> {
    /// The place of a key is in one of these sets.
    sets: [[Bucket; PLACES]; SETS],
}

impl<const SETS: usize> KeyRates<SETS> {
    pub(crate) const NEW: Self = KeyRates { sets: [[Bucket::FREE; PLACES]; SETS] };

    /// Admits the start of a task of a key, or returns the time until which it has to wait. `interval`: the time between
    /// two starts, in microseconds. A key that finds no place because of others waits, too.
    pub fn admit(&mut self, database: DatabaseId, key: Key, interval: i64, now: i64) -> Admission {
        let account = account(database, key);
        let (set, place) = self.place(account);
        let bucket = &mut self.sets[set][place];
        if bucket.account != account {
            if bucket.full_at > now {
                return Admission::Wait(bucket.full_at);
            }
            *bucket = Bucket { account, database, burst: 1, interval, ..Bucket::FREE };
        }
        bucket.interval = interval;
        bucket.admit(now)
    }

    /// Until when a key has to wait; `None` if another task of it may start.
    pub fn refusal(&self, database: DatabaseId, key: Key, now: i64) -> Option<i64> {
        let (set, place) = self.place(account(database, key));
        let bucket = self.sets[set][place];
        Some(bucket.full_at).filter(|until| *until > now)
    }

    /// Revokes the start of a task that was not claimed.
    pub fn give_back(&mut self, database: DatabaseId, key: Key) {
        let account = account(database, key);
        let (set, place) = self.place(account);
        let bucket = &mut self.sets[set][place];
        if bucket.account == account {
            bucket.full_at = bucket.full_at.saturating_sub(bucket.interval);
        }
    }

    /// The place of an account: its own bucket, or else the one of its places that is full first.
    fn place(&self, account: u64) -> (usize, usize) {
        let number = (account % SETS as u64) as usize;
        let set = &self.sets[number];
        let own = set.iter().position(|bucket| bucket.account == account);
        let first_full = || (0..PLACES).min_by_key(|place| set[*place].full_at).unwrap_or(0);
        (number, own.unwrap_or_else(first_full))
    }

    /// Notes that the clock was set back to `now`.
    pub(crate) fn set_clock_back(&mut self, now: i64) {
        self.sets.iter_mut().flatten().for_each(|bucket| bucket.see_time(now));
    }
}

/// Identifies a key in a database; never 0.
fn account(database: DatabaseId, key: Key) -> u64 {
    let mixed = (key.task_type as u64).rotate_left(23) ^ key.queue_key as u64;
    (mixed ^ u64::from(database.get()).wrapping_mul(0x9e37_79b9_7f4a_7c15)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATABASE: DatabaseId = DatabaseId::new(5);
    const SETS: usize = 4;

    fn key(number: i64) -> Key {
        Key { task_type: 1, queue_key: number }
    }

    #[test]
    fn tasks_of_a_key_start_no_sooner_than_its_rate_allows() {
        let mut rates = Box::new(KeyRates::<SETS>::NEW);
        let mut starts = Vec::new();
        for now in 0..100 {
            match rates.admit(DATABASE, key(1), 10, now) {
                Admission::Admitted => starts.push(now),
                Admission::Wait(until) => {
                    assert_eq!(until, starts.last().unwrap() + 10);
                    assert_eq!(rates.refusal(DATABASE, key(1), now), Some(until));
                }
                Admission::Full => unreachable!(),
            }
        }
        assert_eq!(starts, (0..10).map(|turn| turn * 10).collect::<Vec<_>>());
        // Another key, and the same key of another database, have starts of their own.
        assert_eq!(rates.admit(DATABASE, key(2), 10, 95), Admission::Admitted);
        assert_eq!(rates.admit(DatabaseId::new(6), key(1), 10, 95), Admission::Admitted);
    }

    #[test]
    fn a_start_that_was_not_used_is_given_back() {
        let mut rates = Box::new(KeyRates::<SETS>::NEW);
        assert_eq!(rates.admit(DATABASE, key(1), 10, 50), Admission::Admitted);
        rates.give_back(DATABASE, key(1));
        assert_eq!(rates.admit(DATABASE, key(1), 10, 50), Admission::Admitted);
        assert_eq!(rates.admit(DATABASE, key(1), 10, 50), Admission::Wait(60));
    }

    #[test]
    fn keys_without_a_place_wait_and_exceed_no_rate() {
        let mut rates = Box::new(KeyRates::<SETS>::NEW);
        let same: Vec<Key> = (0..=PLACES as i64).map(|number| key(number * SETS as i64)).collect();
        for key in &same[..PLACES] {
            assert_eq!(rates.admit(DATABASE, *key, 10, 50), Admission::Admitted);
        }
        assert_eq!(rates.admit(DATABASE, same[PLACES], 10, 50), Admission::Wait(60));
        assert_eq!(rates.refusal(DATABASE, same[PLACES], 50), Some(60));
        assert_eq!(rates.admit(DATABASE, same[PLACES], 10, 60), Admission::Admitted);
        assert_eq!(rates.admit(DATABASE, same[0], 10, 60), Admission::Admitted);
    }
}
