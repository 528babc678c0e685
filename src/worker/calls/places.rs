//! Places: determines from which lanes a worker claims tasks that need a call, and which calls may be in flight.

use super::batch::Batch;
use super::logged::log_breaker;
use super::queued::{MAX_BYTES_FOR_HOSTS, MAX_FOR_HOSTS};
use super::state::{Calls, limit};
use crate::processor::OpenBatches;
use crate::shared::{EndedCall, InFlight, LANES, Lane, LaneSet, QueuedCalls, Sources, TaskId};
use crate::task_definition::TaskDefinitions;
use crate::worker::pace;
use pg_errand_calls::pool::Room;
use pg_errand_calls::provider::Provider;
use std::sync::Arc;
use std::time::Instant;

impl OpenBatches for Calls {
    fn have_room_for(&self, provider: &Arc<Provider>) -> bool {
        self.unflushed.iter().any(|batch| batch.admitted && batch.has_room_for(provider))
    }
}

impl Calls {
    /// True if another call of any lane can be prepared. A few more calls are prepared than may be in flight, so that
    /// the next one is sent as soon as a response arrives, but no more than can be processed.
    fn have_room(&self) -> bool {
        self.have_room_beyond(0)
    }

    fn have_room_beyond(&self, extra: usize) -> bool {
        let limit = limit();
        self.open() < limit + ahead(limit) + extra && self.load() < 2 * limit + extra
    }

    /// The number of tasks between their two steps, without those that wait for one of many hosts and do not delay
    /// others.
    pub(super) fn load(&self) -> usize {
        self.len() - self.queued_for_hosts().count()
    }

    /// The queued calls to hosts of a common lane, up to the number that does not delay other calls.
    fn queued_for_hosts(&self) -> impl Iterator<Item = &Batch> {
        let mut bytes = 0;
        let all = self.queued.iter().map(|queued| &queued.batch).filter(|batch| batch.is_for_a_host());
        all.take(MAX_FOR_HOSTS).take_while(move |batch| {
            bytes += batch.size();
            bytes <= MAX_BYTES_FOR_HOSTS
        })
    }

    /// True if a batch goes to one of many hosts, and no call to that host has ended for a while.
    fn is_silent(&self, batch: &Batch) -> bool {
        let silent_at = || self.pace.silent_at(batch.account);
        batch.is_for_a_host() && silent_at().is_some_and(|time| time <= Instant::now())
    }

    /// The lanes among `lanes` from which another task can be claimed. `waiting`: the lanes in which tasks wait.
    pub fn sources<'a>(
        &self,
        definitions: &'a TaskDefinitions,
        lanes: LaneSet,
        waiting: LaneSet,
    ) -> Sources<'a> {
        let has_room = self.have_room_beyond(pace::extra(limit()));
        let beside = if has_room { self.lanes_beside().common(lanes) } else { LaneSet::NONE };
        let open = match lanes.common(LaneSet::OF_TYPES) {
            LaneSet::NONE => self.open_lanes(lanes, waiting),
            of_types => {
                // The calls of a type with a lane of its own take places of its provider's lane.
                let behind = |lanes: LaneSet| {
                    let lanes_behind =
                        lanes.common(of_types).iter().map(|lane| definitions.lane_behind(lane));
                    lanes_behind.fold(lanes.common(LaneSet::OTHERS), LaneSet::with)
                };
                let open = self.open_lanes(behind(lanes), behind(waiting));
                let is_open = |lane: &Lane| open.holds(definitions.lane_behind(*lane));
                of_types.iter().filter(is_open).fold(open.common(lanes), LaneSet::with)
            }
        };
        Sources {
            lanes: open.and(beside),
            shut_too: beside,
            limits: definitions.limits(),
            ageing: definitions.ageing(),
        }
    }

    /// The lanes of batches that other requests can join.
    fn lanes_beside(&self) -> LaneSet {
        let definitions = TaskDefinitions::known();
        let is_open = |batch: &&Batch| {
            let now = definitions.provider(&batch.provider.name);
            batch.admitted && now.is_ok_and(|provider| batch.has_room_for(&provider))
        };
        let lanes = self
            .unflushed
            .iter()
            .filter(is_open)
            .map(|batch| definitions.lane_of_provider(&batch.provider.name));
        // The last lane has tasks of several providers.
        lanes.filter(|lane| *lane != Lane::LAST).fold(LaneSet::NONE, LaneSet::with)
    }

    fn open_lanes(&self, lanes: LaneSet, waiting: LaneSet) -> LaneSet {
        let limit = limit();
        if !self.have_room_beyond(pace::extra(limit)) {
            return LaneSet::LOCAL;
        }
        let mut used = [0; LANES];
        let definitions = TaskDefinitions::known();
        let queued = || self.queued.iter().map(|queued| &queued.batch);
        let beyond = queued().filter(|batch| batch.is_for_a_host()).skip(self.queued_for_hosts().count());
        let waiting_to_go =
            self.unflushed.iter().chain(queued().filter(|batch| !batch.is_for_a_host())).chain(beyond);
        let lanes_of_providers =
            waiting_to_go.map(|batch| definitions.lane_of_provider(&batch.provider.name));
        // The calls of an unresponsive host do not count for the other hosts of its lane, unless there are so many of
        // them that no places would remain for other lanes.
        let forgives = self.have_room_beyond(pace::extra(limit) / 2);
        let in_flight = self.in_flight.values().filter(|sent| !(forgives && self.is_silent(&sent.batch)));
        lanes_of_providers.chain(in_flight.map(|sent| sent.lane)).for_each(|lane| used[lane.index()] += 1);
        if !self.have_room() {
            return pace::lanes_with_few(lanes, &used, limit);
        }
        let open = pace::open_lanes(lanes, waiting, &self.pace, &used, limit);
        let busy = self.in_flight.values().map(|sent| sent.lane).fold(LaneSet::NONE, LaneSet::with);
        let is_shared = used.iter().filter(|calls| **calls > 0).count() > 1 || busy.iter().count() > 1;
        if is_shared && self.in_flight.len() >= limit {
            // More calls of the other lanes would only wait for a thread.
            return open.common(pace::lanes_with_few(lanes, &used, limit));
        }
        open
    }

    /// Publishes the calls in flight to other processes.
    pub fn show(&mut self) {
        self.slot.set_in_flight(self.tasks(), &self.queued_calls(), !self.have_room());
        let (counts, mut ended, providers) = self.take_counts();
        let starts = self.count_starts();
        self.slot.set_calls(counts, starts, &mut ended);
        for (ended, provider) in ended.iter().zip(providers) {
            if let Some(breaker) = ended.breaker {
                log_breaker(&provider, breaker, ended.terms.breaker_threshold);
            }
        }
    }

    /// The queued calls, as other processes see them.
    pub(super) fn queued_calls(&self) -> QueuedCalls {
        QueuedCalls::of(self.queued.iter().flat_map(|queued| queued.batch.tasks()).map(TaskId::get))
    }

    /// The calls that count towards the limits of providers, and how calls have ended since the previous invocation.
    fn take_counts(&mut self) -> (InFlight, Vec<EndedCall>, Vec<String>) {
        let mut counts = InFlight::NONE;
        let in_flight = || self.in_flight.values().map(|sent| &sent.batch).chain(&self.unflushed);
        let is_limited = |batch: &&Batch| batch.provider_terms.max_in_flight > 0;
        // Those that count towards a limit come first: there may be no room for all accounts.
        let all = in_flight().filter(is_limited).chain(in_flight().filter(|batch| !is_limited(batch)));
        all.for_each(|batch| counts.add(batch.provider_terms.account));
        (counts, std::mem::take(&mut self.ended), std::mem::take(&mut self.ended_of))
    }

    /// How many calls may be in flight for a call of this batch to start at once.
    pub(super) fn room_for(&self, lane: Lane, batch: &Batch) -> Room {
        let limit = limit();
        // While places are free, the extra places are not used.
        let is_full = self.in_flight.len() >= limit;
        let used = || match batch.is_for_a_host() {
            true => self.calls_to(batch.account),
            false => self.in_flight.values().filter(|sent| sent.lane == lane).count(),
        };
        let extra = if is_full && used() < pace::own(limit) { pace::extra(limit) } else { 0 };
        Room { limit, extra }
    }

    /// The number of calls in flight to a host.
    pub(super) fn calls_to(&self, account: u64) -> usize {
        self.in_flight.values().filter(|sent| sent.terms.account == account).count()
    }

    /// True if another call to one of many hosts leaves room for other calls.
    pub(super) fn host_has_room(&self, account: u64) -> bool {
        let limit = limit();
        let is_shared = self.batches().any(|batch| batch.account != account);
        let most = match (self.in_flight.len() >= limit, is_shared) {
            (true, true) => pace::own(limit),
            (_, false) if !self.pace.is_slowed(account, limit) => limit + ahead(limit),
            _ => self.pace.of_host(account, limit),
        };
        self.calls_to(account) < most && self.in_flight.len() < limit + ahead(limit) + pace::extra(limit)
    }
}

/// The number of calls that are prepared beyond those that may be in flight.
fn ahead(limit: usize) -> usize {
    limit.saturating_sub(4) / 4
}
