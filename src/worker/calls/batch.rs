//! A batch: the calls of one or several tasks that go out as one request.

use super::rows::JoinedCall;
use crate::config;
use crate::provider;
use crate::shared::{TaskId, Terms};
use crate::task_definition::TaskDefinitions;
use pg_errand_calls::provider::{Provider, host_of};
use pg_errand_calls::request::Request;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Size limit of the requests of a batch, in bytes. Larger requests are sent on their own.
const LARGEST: usize = 4 * 1024 * 1024;
/// The longest time for which a provider is assumed to recognize a key.
const LONGEST_MEMORY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A task's part of a batch.
pub struct Member {
    pub task_id: TaskId,
    pub request: Arc<Request>,
    /// The task has ended. Its request remains part of the batch, since a batch is sent again unchanged.
    pub given_up: bool,
}

impl Member {
    pub fn new(task_id: TaskId, request: Request) -> Member {
        Member { task_id, request: Arc::new(request), given_up: false }
    }
}

/// Calls that go out as one request.
pub struct Batch {
    pub provider: Arc<Provider>,
    /// Invariant: the batch is never empty, and is in the order of the tasks once it is sent.
    pub members: Vec<Member>,
    /// The idempotency key of the common request; `None` for a single task.
    pub key: Option<String>,
    /// The rate limit of the provider has admitted the batch.
    pub admitted: bool,
    /// Until when the provider recognizes the key, if the batch was sent before and may have been carried out.
    pub recognized_until: Option<Instant>,
    /// No other task may join. Before such a batch is sent, it is stored that it goes out alone.
    pub alone: bool,
    /// No other request fits into the batch.
    pub full: bool,
    /// The provider accepts several requests like the first one in a batch.
    pub batchable: bool,
    /// When the batch was prepared.
    pub since: Instant,
    /// For how long its provider was paused in `queues.paused` meanwhile.
    pub paused_for: Duration,
    /// Another worker can send the batch, since its provider recognizes keys.
    pub is_resumable: bool,
    /// The limits of the provider.
    pub provider_terms: Terms,
    /// The account whose limits apply: that of the provider, or of its host.
    pub account: u64,
}

impl Batch {
    pub fn new(provider: Arc<Provider>, member: Member) -> Batch {
        Batch::stored(provider, vec![member], None)
    }

    /// A batch that has already been stored.
    pub fn stored(provider: Arc<Provider>, members: Vec<Member>, key: Option<String>) -> Batch {
        let provider_terms = provider::terms(&provider);
        let first = &members[0].request;
        let account = provider::account_of(&provider, first);
        let batchable =
            !first.goes_alone() && provider.batching().is_some_and(|batching| batching.takes(first));
        let is_resumable = !provider.interface.remembers_keys_for(&provider).is_zero();
        Batch {
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
            paused_for: Duration::ZERO,
            provider_terms,
            account,
        }
    }

    /// Until when a provider recognizes the key of a request that was first sent `age` ago.
    pub fn recognized_until(provider: &Provider, age: Duration) -> Instant {
        let memory = provider.interface.remembers_keys_for(provider).min(LONGEST_MEMORY);
        Instant::now() + memory.saturating_sub(age)
    }

    /// True if the batch can be sent again after `wait`, although the provider has received it. `nothing_done`: the
    /// provider reported that it has not carried it out.
    pub fn may_be_repeated(&self, wait: Duration, nothing_done: bool) -> bool {
        let until = match self.recognized_until {
            None if nothing_done => return true,
            None => Batch::recognized_until(&self.provider, self.since.elapsed()),
            Some(until) => until,
        };
        Instant::now() + wait <= until || self.members[0].request.only_reads()
    }

    /// Checks that the provider still recognizes the key, if the batch was sent before.
    ///
    /// # Errors
    /// If the batch has waited too long to be sent again.
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

    /// Notes that the batch was sent and may have been carried out.
    pub fn note_sent(&mut self) {
        let until = Batch::recognized_until(&self.provider, self.since.elapsed());
        self.recognized_until.get_or_insert(until);
    }

    /// True if another task of this provider may join.
    pub fn has_room_for(&self, provider: &Arc<Provider>) -> bool {
        let is_open = self.batchable && !self.alone && !self.full;
        is_open && self.members.len() < provider.batch_size() && Arc::ptr_eq(provider, &self.provider)
    }

    /// True if this request can join. After a request that does not fit, no other one is tried.
    pub fn takes(&mut self, provider: &Arc<Provider>, request: &Request) -> bool {
        if !self.has_room_for(provider)
            || !request.has_destination_of(&self.members[0].request)
            || request.goes_alone()
            || !provider.batching().is_some_and(|batching| batching.takes(request))
        {
            return false;
        }
        let limit = LARGEST.min(config::HTTP_MAX_REQUEST_SIZE.get() as usize);
        // The JSON array takes a separator for each request, and the brackets.
        self.full = self.size() + request.size() + self.members.len() + 2 > limit;
        !self.full
    }

    /// Takes the provider's current row from `definitions`.
    ///
    /// # Errors
    /// If the provider was removed or its interface has changed.
    pub fn follow(&mut self, definitions: &TaskDefinitions) -> Result<(), String> {
        let now = definitions
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
            (self.provider_terms, self.account) = (provider::terms(&now), provider::account_of(&now, first));
            self.is_resumable = !now.interface.remembers_keys_for(&now).is_zero();
            self.provider = now;
        }
        Ok(())
    }

    /// The limits that admit the batch: those of its host, or of its provider. The provider's limit of calls in flight
    /// counts for all of its hosts together.
    pub fn terms(&self) -> Terms {
        match self.is_for_a_host() {
            true => Terms { account: self.account, max_in_flight: 0, ..self.provider_terms },
            false => self.provider_terms,
        }
    }

    /// True if the provider has no base URL, and therefore many hosts.
    pub fn is_for_a_host(&self) -> bool {
        self.account != self.provider_terms.account
    }

    /// The provider's name for messages, with the host if the provider has no base URL.
    pub fn provider_name(&self) -> String {
        let name = &self.provider.name;
        match self.members[0].request.as_ref() {
            Request::Http(http) if self.is_for_a_host() => format!("{name} ({})", host_of(http)),
            _ => name.clone(),
        }
    }

    /// The total size of the requests' bodies, in bytes.
    pub fn size(&self) -> usize {
        self.members.iter().map(|member| member.request.size()).sum()
    }

    /// True if it has to be stored which calls go out together, or that a call goes out alone.
    pub fn is_to_be_joined(&self) -> bool {
        self.alone || self.members.len() > 1
    }

    /// Keeps only the calls that were stored; tasks that are missing there have been removed.
    pub fn join(&mut self, joined: &[JoinedCall]) {
        self.members.retain(|member| joined.iter().any(|call| call.task_id == member.task_id));
        let first = joined.iter().find(|call| call.batch == Some(call.task_id));
        self.key = first.map(|first| key_of_batch(&first.key));
    }

    /// Splits the batch into one for each task that has not ended.
    pub fn separate(self) -> impl Iterator<Item = Batch> {
        let Batch { provider, members, since, paused_for, .. } = self;
        let live = members.into_iter().filter(|member| !member.given_up);
        live.map(move |member| Batch {
            alone: true,
            since,
            paused_for,
            ..Batch::new(provider.clone(), member)
        })
    }

    /// Identifies the batch by its first task.
    pub fn id(&self) -> TaskId {
        self.members[0].task_id
    }

    /// The tasks of the batch that have not ended.
    pub fn tasks(&self) -> impl Iterator<Item = TaskId> {
        self.members.iter().filter(|member| !member.given_up).map(|member| member.task_id)
    }

    pub fn len(&self) -> usize {
        self.tasks().count()
    }

    pub fn holds(&self, task_id: TaskId) -> bool {
        self.tasks().any(|known| known == task_id)
    }

    /// True if a task of the batch has ended since the batch was formed.
    pub fn is_incomplete(&self) -> bool {
        self.members.iter().any(|member| member.given_up)
    }

    /// Notes that a task of the batch has ended. False if no task is left.
    pub fn give_up(&mut self, task_id: TaskId) -> bool {
        self.members.iter_mut().filter(|member| member.task_id == task_id).for_each(|m| m.given_up = true);
        self.tasks().next().is_some()
    }

    /// The request that is sent.
    pub fn request(&self) -> Arc<Request> {
        match (&self.key, self.provider.interface.batching()) {
            (Some(key), Some(batching)) => {
                let requests: Vec<&Request> = self.members.iter().map(|m| m.request.as_ref()).collect();
                Arc::new(batching.request(&requests, key))
            }
            _ => self.members[0].request.clone(),
        }
    }
}

/// The key of a batch, derived from the key of its first call, since the batch is a different request.
pub fn key_of_batch(key: &str) -> String {
    format!("{key}-batch")
}
