//! Pace: how many calls a lane or a host may have in flight, and from which lanes a worker claims tasks.

use crate::shared::{LANES, Lane, LaneSet};
use pg_errand_calls::response::Response;
use pg_errand_calls::retry_after;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The initial number of calls in flight to a provider that has not responded yet, while other providers have calls in
/// flight, too. As in TCP, the start is slow.
const FIRST: usize = 8;
/// The minimum number of calls in flight to a provider that does not respond.
const LEAST: usize = 4;
/// The shortest pause that a provider can request.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that a provider can request.
const LONGEST_PAUSE: Duration = Duration::from_secs(365 * 24 * 3600);

/// The number of calls that a provider may have in flight in this worker while other providers need places, too. Each
/// response increases it by one; a call without a response halves it.
#[derive(Clone, Copy, Default)]
struct Share(Option<usize>);

impl Share {
    /// The number of calls. `limit`: the limit for all calls of this worker.
    fn of(self, limit: usize) -> usize {
        self.0.unwrap_or(FIRST.max(limit / 4)).min(limit / 2).max(1)
    }

    fn note(&mut self, answered: bool, limit: usize) {
        let share = self.of(limit);
        let next = if answered { share + 1 } else { (share / 2).max(LEAST) };
        self.0 = Some(next.min(limit));
    }
}

/// The number of hosts that are remembered, besides all hosts that were called recently.
const HOSTS: usize = 1024;
/// The time for which a host counts as called recently.
const REMEMBERED: Duration = Duration::from_secs(60);
/// A host may be unresponsive if none of its calls has ended for this time.
const SILENT_AFTER: Duration = Duration::from_secs(1);

struct Host {
    share: Share,
    /// When one of the host's calls last ended, or since when it has calls in flight.
    heard_at: Instant,
}

/// The shares of lanes, and of hosts that share a lane.
pub struct Pace {
    lanes: [Share; LANES],
    /// The hosts, by their accounts.
    hosts: HashMap<u64, Host>,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { lanes: [Share::default(); LANES], hosts: HashMap::new() }
    }
}

impl Pace {
    pub fn of(&self, lane: Lane, limit: usize) -> usize {
        self.lanes[lane.index()].of(limit)
    }

    pub fn of_host(&self, account: u64, limit: usize) -> usize {
        self.hosts.get(&account).map_or(Share::default(), |host| host.share).of(limit)
    }

    /// True if calls to this host have recently ended without a response.
    pub fn is_slowed(&self, account: u64, limit: usize) -> bool {
        self.of_host(account, limit) < Share::default().of(limit)
    }

    /// The time at which a host with calls in flight counts as silent, unless one of them ends before.
    pub fn silent_at(&self, account: u64) -> Option<Instant> {
        self.hosts.get(&account).map(|host| host.heard_at + SILENT_AFTER)
    }

    /// Notes that the first call to a host is in flight.
    pub fn begin_host(&mut self, account: u64) {
        self.host(account).heard_at = Instant::now();
    }

    fn host(&mut self, account: u64) -> &mut Host {
        if self.hosts.len() >= HOSTS && !self.hosts.contains_key(&account) {
            self.hosts.retain(|_, host| host.heard_at.elapsed() < REMEMBERED);
        }
        let new = || Host { share: Share::default(), heard_at: Instant::now() };
        self.hosts.entry(account).or_insert_with(new)
    }

    /// Notes that a call of a lane has ended, with a response or without.
    pub fn note(&mut self, lane: Lane, answered: bool, limit: usize) {
        self.lanes[lane.index()].note(answered, limit);
    }

    /// Notes that a call to a host has ended, with a response or without.
    pub fn note_host(&mut self, account: u64, answered: bool, limit: usize) {
        let host = self.host(account);
        host.share.note(answered, limit);
        host.heard_at = Instant::now();
    }
}

/// The number of calls that a lane may have in flight although other lanes use all places, so that providers which do
/// not respond do not delay others. `limit`: the places of this worker.
pub fn own(limit: usize) -> usize {
    (limit / 8).max(1)
}

/// The number of extra places for those calls, for all lanes together.
pub fn extra(limit: usize) -> usize {
    limit / 2
}

/// The lanes among `lanes` from which another task can be claimed when all places are in use.
pub fn lanes_with_few(lanes: LaneSet, used: &[usize; LANES], limit: usize) -> LaneSet {
    lanes.iter().filter(|lane| used[lane.index()] >= own(limit)).fold(lanes, LaneSet::without)
}

/// The lanes among `lanes` from which another task can be claimed while places are free. `used`: the calls of each
/// lane; `waiting`: the lanes in which tasks are known to wait.
pub fn open_lanes(
    lanes: LaneSet,
    waiting: LaneSet,
    pace: &Pace,
    used: &[usize; LANES],
    limit: usize,
) -> LaneSet {
    lanes.iter().filter(|lane| *lane != Lane::LOCAL).fold(lanes, |open, lane| {
        let wanted = |other: &Lane| {
            *other != lane && *other != Lane::LOCAL && (waiting.holds(*other) || used[other.index()] > 0)
        };
        let is_shared = lanes.iter().any(|other| wanted(&other));
        let is_full = is_shared && used[lane.index()] >= pace.of(lane, limit);
        if is_full { open.without(lane) } else { open }
    })
}

/// The pause that a response requests, if it does: 429 or 503 with Retry-After.
pub fn asked_to_wait(response: &Response) -> Option<Duration> {
    if !matches!(response.status, 429 | 503) {
        return None;
    }
    let wait = retry_after::parse(response.header("retry-after")?)?;
    Some(wait.clamp(SHORTEST_PAUSE, LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, retry_after: &str) -> Response {
        let headers = vec![("retry-after".to_owned(), retry_after.to_owned())];
        Response { status, headers, ..Response::default() }
    }

    #[test]
    fn who_asks_to_wait_is_waited_for() {
        assert_eq!(asked_to_wait(&response(429, " 30 ")), Some(Duration::from_secs(30)));
        assert_eq!(asked_to_wait(&response(503, "0")), Some(SHORTEST_PAUSE));
        assert_eq!(asked_to_wait(&response(429, &u64::MAX.to_string())), Some(LONGEST_PAUSE));
        assert_eq!(asked_to_wait(&response(500, "30")), None);
        assert_eq!(asked_to_wait(&response(429, "soon")), None);
        assert_eq!(asked_to_wait(&response(429, "-1")), None);
        assert_eq!(asked_to_wait(&response(429, "Sun, 06 Nov 1994 08:49:37 GMT")), Some(SHORTEST_PAUSE));
    }

    #[test]
    fn when_all_places_are_taken_lanes_with_few_calls_are_open() {
        let mut used = [0; LANES];
        used[Lane::call(1).index()] = 64;
        used[Lane::call(2).index()] = 7;
        used[Lane::call(3).index()] = 8;
        let open = lanes_with_few(LaneSet::ALL, &used, 64);
        assert!(open.holds(Lane::LOCAL) && open.holds(Lane::call(2)) && open.holds(Lane::call(4)));
        assert!(!open.holds(Lane::call(1)) && !open.holds(Lane::call(3)));
        // A single place is not shared.
        assert_eq!(extra(1), 0);
    }

    #[test]
    fn a_lane_that_does_not_answer_leaves_room_for_others() {
        let mut pace = Pace::default();
        let lane = Lane::call(1);
        assert_eq!(pace.of(lane, 64), 16);
        (0..100).for_each(|_| pace.note(lane, true, 64));
        assert_eq!(pace.of(lane, 64), 32);
        (0..10).for_each(|_| pace.note(lane, false, 64));
        assert_eq!(pace.of(lane, 64), LEAST);
        assert_eq!(pace.of(lane, 1), 1);
    }
}
