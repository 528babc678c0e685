//! Places: from where a worker takes tasks that need a call, and which calls may be under way.

use super::parcel::Parcel;
use super::{Calls, held};
use crate::config;
use crate::shared::{EndedCall, InFlight, LANES, Lane, LaneSet, Sources};
use crate::task_definition::TaskDefinitions;
use crate::worker::flow;
use pg_errand_calls::pool::Room;
use std::time::Instant;

impl Calls {
    /// True if another call of any lane can be prepared. A few more than may be under way are, so that the next
    /// one is sent as soon as one is answered; and not more are answered than can be handled.
    pub fn have_room(&self) -> bool {
        self.have_room_beyond(0)
    }

    pub(super) fn have_room_beyond(&self, extra: usize) -> bool {
        let limit = limit();
        self.open() < limit + ahead(limit) + extra && self.load() < 2 * limit + extra
    }

    /// Tasks between their two steps, without those that wait for one of many hosts: it holds up no other.
    pub(super) fn load(&self) -> usize {
        self.len() - self.held_for_hosts().count()
    }

    /// As many of those as need not be handled soon.
    fn held_for_hosts(&self) -> impl Iterator<Item = &Parcel> {
        let mut bytes = 0;
        let all = self.held.iter().map(|held| &held.parcel).filter(|parcel| parcel.is_for_a_host());
        all.take(held::MOST).take_while(move |parcel| {
            bytes += parcel.size();
            bytes <= held::MOST_BYTES
        })
    }

    /// True if it is for one of many hosts, of which none of the calls has ended for long.
    fn is_silent(&self, parcel: &Parcel) -> bool {
        let silent_at = || self.pace.silent_at(parcel.account);
        parcel.is_for_a_host() && silent_at().is_some_and(|time| time <= Instant::now())
    }

    /// Where another task can be taken from, of `lanes`. `waiting`: those in which some wait.
    pub fn sources(&self, lanes: LaneSet, waiting: LaneSet) -> Sources {
        let open = self.open_lanes(lanes, waiting);
        let has_room = self.have_room_beyond(flow::extra(limit()));
        let beside = if has_room { self.lanes_beside() } else { LaneSet::NONE };
        Sources { lanes: open.and(beside), shut_too: beside }
    }

    /// Lanes of requests with which others can go out.
    fn lanes_beside(&self) -> LaneSet {
        let kinds = TaskDefinitions::known();
        let is_open = |parcel: &&Parcel| {
            let now = kinds.provider(&parcel.provider.name);
            parcel.admitted && now.is_ok_and(|provider| parcel.has_room_for(&provider))
        };
        let lanes =
            self.ready.iter().filter(is_open).map(|parcel| kinds.lane_of_provider(&parcel.provider.name));
        // The last one has tasks of other providers.
        lanes.filter(|lane| *lane != Lane::LAST).fold(LaneSet::NONE, LaneSet::with)
    }

    fn open_lanes(&self, lanes: LaneSet, waiting: LaneSet) -> LaneSet {
        let limit = limit();
        if !self.have_room_beyond(flow::extra(limit)) {
            return LaneSet::LOCAL;
        }
        let mut used = [0; LANES];
        let kinds = TaskDefinitions::known();
        let held = || self.held.iter().map(|held| &held.parcel);
        let beyond = held().filter(|parcel| parcel.is_for_a_host()).skip(self.held_for_hosts().count());
        let waiting_to_go =
            self.ready.iter().chain(held().filter(|parcel| !parcel.is_for_a_host())).chain(beyond);
        let lanes_of_providers = waiting_to_go.map(|parcel| kinds.lane_of_provider(&parcel.provider.name));
        // What a dead host has does not count for the others of its lane, but many of them leave room for other lanes.
        let forgives = self.have_room_beyond(flow::extra(limit) / 2);
        let under_way = self.waiting_for.values().filter(|open| !(forgives && self.is_silent(&open.parcel)));
        lanes_of_providers.chain(under_way.map(|open| open.lane)).for_each(|lane| used[lane.index()] += 1);
        if !self.have_room() {
            return flow::lanes_with_few(lanes, &used, limit);
        }
        let open = flow::open_lanes(lanes, waiting, &self.pace, &used, limit);
        let busy = self.waiting_for.values().map(|open| open.lane).fold(LaneSet::NONE, LaneSet::with);
        let is_shared = used.iter().filter(|calls| **calls > 0).count() > 1 || busy.iter().count() > 1;
        if is_shared && self.waiting_for.len() >= limit {
            // More of the others would only wait for a thread.
            return open.common(flow::lanes_with_few(lanes, &used, limit));
        }
        open
    }

    /// What counts for the limits of providers, and how calls went since this was last asked.
    pub fn take_counts(&mut self) -> (InFlight, Vec<EndedCall>, Vec<String>) {
        let mut counts = InFlight::NONE;
        let under_way = self.waiting_for.values().map(|open| &open.parcel);
        let limited = under_way.chain(&self.ready).filter(|parcel| parcel.of_service.max_in_flight > 0);
        limited.for_each(|parcel| counts.add(parcel.of_service.account));
        (counts, std::mem::take(&mut self.ended), std::mem::take(&mut self.ended_of))
    }

    /// How many calls may be under way for this one to start at once.
    pub(super) fn room_for(&self, lane: Lane, parcel: &Parcel) -> Room {
        let limit = limit();
        // Otherwise there is room anyway.
        let is_full = self.waiting_for.len() >= limit;
        let used = || match parcel.is_for_a_host() {
            true => self.calls_to(parcel.account),
            false => self.waiting_for.values().filter(|open| open.lane == lane).count(),
        };
        let extra = if is_full && used() < flow::own(limit) { flow::extra(limit) } else { 0 };
        Room { limit, extra }
    }

    pub(super) fn calls_to(&self, account: u64) -> usize {
        self.waiting_for.values().filter(|open| open.terms.account == account).count()
    }

    /// True if another call to this one of many hosts leaves room for others.
    pub(super) fn host_has_room(&self, account: u64) -> bool {
        let limit = limit();
        let is_shared = self.parcels().any(|parcel| parcel.account != account);
        let most = match (self.waiting_for.len() >= limit, is_shared) {
            (true, true) => flow::own(limit),
            (_, false) if !self.pace.is_slowed(account, limit) => limit + ahead(limit),
            _ => self.pace.of_host(account, limit),
        };
        self.calls_to(account) < most && self.waiting_for.len() < limit + ahead(limit) + flow::extra(limit)
    }
}

/// Interface calls of this worker that may be under way.
pub(super) fn limit() -> usize {
    config::MAX_IN_FLIGHT.get() as usize
}

/// Calls that are prepared beyond what may be under way.
fn ahead(limit: usize) -> usize {
    limit.saturating_sub(4) / 4
}
