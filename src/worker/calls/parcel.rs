//! What goes out as one request: that of a task, or of several.

use super::CallResult;
use super::interpret::interpret;
use crate::config;
use crate::provider;
use crate::shared::Terms;
use crate::task_definition::TaskDefinitions;
use crate::worker::record::JoinedCall;
use pg_errand_calls::interface::contract::BatchResponse;
use pg_errand_calls::job::Outcome;
use pg_errand_calls::provider::{Provider, host_of};
use pg_errand_calls::request::Request;
use pg_errand_calls::response::Response;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of the requests that go out together at most: what is larger is worth one of its own.
const LARGEST: usize = 4 * 1024 * 1024;
/// As good as for ever.
const LONGEST_MEMORY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A task's part.
pub struct Member {
    pub task_id: i64,
    pub request: Arc<Request>,
    /// Its task has ended; the request that is sent stays the same.
    pub given_up: bool,
}

impl Member {
    pub fn new(task_id: i64, request: Request) -> Member {
        Member { task_id, request: Arc::new(request), given_up: false }
    }
}

pub struct Parcel {
    pub provider: Arc<Provider>,
    /// Never empty; in the order of the tasks when it is sent.
    pub members: Vec<Member>,
    /// For several tasks: the key of their request.
    pub key: Option<String>,
    /// The provider has let it pass.
    pub admitted: bool,
    /// It was sent before, and may have been taken: until then its provider would recognize that.
    pub recognized_until: Option<Instant>,
    /// No further task may join: that there is none is to be stored, too.
    pub alone: bool,
    /// No further task fits.
    pub full: bool,
    /// The provider takes requests like the first one for several tasks.
    pub batchable: bool,
    pub since: Instant,
    /// Whoever takes it over can send it.
    pub is_resumable: bool,
    /// What its provider lets us do, as of when it was prepared.
    pub of_service: Terms,
    /// The account that its request concerns: its provider's, or that of its host.
    pub account: u64,
}

impl Parcel {
    pub fn new(provider: Arc<Provider>, member: Member) -> Parcel {
        Parcel::stored(provider, vec![member], None)
    }

    /// One that has been stored before.
    pub fn stored(provider: Arc<Provider>, members: Vec<Member>, key: Option<String>) -> Parcel {
        let of_service = provider::terms(&provider);
        let first = &members[0].request;
        let account = provider::account_of(&provider, first);
        let batchable =
            !first.goes_alone() && provider.batching().is_some_and(|batching| batching.takes(first));
        let is_resumable = !provider.interface.remembers_keys_for(&provider).is_zero();
        Parcel {
            is_resumable,
            provider,
            members,
            key,
            admitted: false,
            recognized_until: None,
            alone: false,
            full: false,
            batchable,
            since: Instant::now(),
            of_service,
            account,
        }
    }

    /// Until when its provider would recognize it, if it was first sent `age` ago.
    pub fn recognized_until(provider: &Provider, age: Duration) -> Instant {
        let memory = provider.interface.remembers_keys_for(provider).min(LONGEST_MEMORY);
        Instant::now() + memory.saturating_sub(age)
    }

    /// True if it can be sent again after `wait`, although its provider had it already. `nothing_done`: it said that it
    /// has done nothing.
    pub fn may_be_repeated(&self, wait: Duration, nothing_done: bool) -> bool {
        let until = match self.recognized_until {
            None if nothing_done => return true,
            None => Parcel::recognized_until(&self.provider, self.since.elapsed()),
            Some(until) => until,
        };
        Instant::now() + wait <= until || self.members[0].request.only_reads()
    }

    /// # Errors
    /// That it cannot be sent again any more: it has waited for too long.
    pub fn check_recognized(&self) -> Result<(), String> {
        match self.recognized_until {
            Some(until) if until < Instant::now() && !self.members[0].request.only_reads() => Err(format!(
                "outcome unknown: it was sent before, and {} does not recognize its idempotency key any more; it was not \
                 sent again",
                self.provider.name
            )),
            _ => Ok(()),
        }
    }

    /// It was sent, and nothing tells that its provider has done nothing.
    pub fn note_sent(&mut self) {
        let until = Parcel::recognized_until(&self.provider, self.since.elapsed());
        self.recognized_until.get_or_insert(until);
    }

    /// True if another task of this provider may be able to join.
    pub fn has_room_for(&self, provider: &Arc<Provider>) -> bool {
        let is_open = self.batchable && !self.alone && !self.full;
        is_open && self.members.len() < provider.batch_size() && Arc::ptr_eq(provider, &self.provider)
    }

    /// True if this request can join. What does not fit is the last one that tries.
    pub fn takes(&mut self, provider: &Arc<Provider>, request: &Request) -> bool {
        if !self.has_room_for(provider)
            || !request.has_destination_of(&self.members[0].request)
            || request.goes_alone()
            || !provider.batching().is_some_and(|batching| batching.takes(request))
        {
            return false;
        }
        let limit = LARGEST.min(config::HTTP_MAX_REQUEST_SIZE.get() as usize);
        // Each has a separator.
        self.full = self.size() + request.size() + self.members.len() + 2 > limit;
        !self.full
    }

    /// Takes over the current row of its provider from `kinds`.
    ///
    /// # Errors
    /// That the provider was removed or has another interface.
    pub fn follow(&mut self, kinds: &TaskDefinitions) -> Result<(), String> {
        let now = kinds
            .provider(&self.provider.name)
            .map_err(|reason| format!("{reason}; the request was not sent"))?;
        let (before, after) = (self.provider.interface.name(), now.interface.name());
        if before != after {
            return Err(format!(
                "the interface of provider \"{}\" has changed from {before} to {after}; the request was not sent",
                now.name
            ));
        }
        if !Arc::ptr_eq(&self.provider, &now) {
            let first = &self.members[0].request;
            (self.of_service, self.account) = (provider::terms(&now), provider::account_of(&now, first));
            self.is_resumable = !now.interface.remembers_keys_for(&now).is_zero();
            self.provider = now;
        }
        Ok(())
    }

    /// What its host lets us do, or its provider. Calls to all hosts are counted together.
    pub fn terms(&self) -> Terms {
        match self.is_for_a_host() {
            true => Terms { account: self.account, max_in_flight: 0, ..self.of_service },
            false => self.of_service,
        }
    }

    /// True if its host is one of many that its provider may speak to.
    pub fn is_for_a_host(&self) -> bool {
        self.account != self.of_service.account
    }

    /// The provider's name for messages; with the host, if the provider has no base URL.
    pub fn provider(&self) -> String {
        let name = &self.provider.name;
        match self.members[0].request.as_ref() {
            Request::Http(http) if self.is_for_a_host() => format!("{name} ({})", host_of(http)),
            _ => name.clone(),
        }
    }

    /// Bytes of its requests' bodies.
    pub fn size(&self) -> usize {
        self.members.iter().map(|member| member.request.size()).sum()
    }

    /// True if it is to be stored with what it goes out, or that it goes out alone.
    pub fn is_to_be_joined(&self) -> bool {
        self.alone || self.members.len() > 1
    }

    /// What has been stored of it: whoever is missing has been removed.
    pub fn join(&mut self, joined: &[JoinedCall]) {
        self.members.retain(|member| joined.iter().any(|call| call.task_id == member.task_id));
        let first = joined.iter().find(|call| call.batch == Some(call.task_id));
        self.key = first.map(|first| key_of_batch(&first.key));
    }

    /// One for each task that has not ended.
    pub fn separate(self) -> impl Iterator<Item = Parcel> {
        let Parcel { provider, members, since, .. } = self;
        let live = members.into_iter().filter(|member| !member.given_up);
        live.map(move |member| Parcel { alone: true, since, ..Parcel::new(provider.clone(), member) })
    }

    /// Tells parcels apart: its first task.
    pub fn id(&self) -> i64 {
        self.members[0].task_id
    }

    /// Its tasks that have not ended.
    pub fn tasks(&self) -> impl Iterator<Item = i64> {
        self.members.iter().filter(|member| !member.given_up).map(|member| member.task_id)
    }

    pub fn len(&self) -> usize {
        self.tasks().count()
    }

    pub fn holds(&self, task_id: i64) -> bool {
        self.tasks().any(|known| known == task_id)
    }

    /// True if a task of it has ended since it was put together.
    pub fn is_incomplete(&self) -> bool {
        self.members.iter().any(|member| member.given_up)
    }

    /// A task of it has ended. False if nobody waits for it any more.
    pub fn give_up(&mut self, task_id: i64) -> bool {
        self.members.iter_mut().filter(|member| member.task_id == task_id).for_each(|m| m.given_up = true);
        self.tasks().next().is_some()
    }

    pub fn request(&self) -> Arc<Request> {
        match (&self.key, self.provider.interface.batching()) {
            (Some(key), Some(batching)) => {
                let requests: Vec<&Request> = self.members.iter().map(|m| m.request.as_ref()).collect();
                Arc::new(batching.request(&requests, key))
            }
            _ => self.members[0].request.clone(),
        }
    }

    /// What its call came to.
    pub fn open(self, outcome: &Outcome) -> Opened {
        let batching = self.provider.interface.batching().filter(|_| self.key.is_some());
        let responses: Vec<Result<Response, String>> = match (batching, &outcome.response) {
            (None, response) => vec![response.clone()],
            (Some(_), Err(reason)) => vec![Err(reason.clone()); self.members.len()],
            (Some(batching), Ok(response)) => match batching.split(response, self.members.len()) {
                BatchResponse::Each(responses) => responses.into_iter().map(Ok).collect(),
                // What was sent before may have been taken, and forgotten since.
                BatchResponse::Refused
                    if self.recognized_until.is_some() && !matches!(response.status, 400 | 422) =>
                {
                    let reason =
                        format!("outcome unknown: sent again, it was refused with HTTP {}", response.status);
                    vec![Err(reason); self.members.len()]
                }
                BatchResponse::Refused => return Opened::Refused(self),
            },
        };
        let live = self.members.into_iter().zip(responses).filter(|(member, _)| !member.given_up);
        Opened::Results(
            live.map(|(member, response)| {
                (member.task_id, interpret(&self.provider, &member, response.as_ref(), outcome))
            })
            .collect(),
        )
    }
}

/// The key of a request for several tasks, from that of the first one: it is another request.
pub fn key_of_batch(key: &str) -> String {
    format!("{key}-batch")
}

/// What a parcel's call came to.
pub enum Opened {
    Results(Vec<(i64, CallResult)>),
    /// Nothing was done: each of its requests has to be sent on its own.
    Refused(Parcel),
}
