//! Why a task has not started or not ended: one reason of a closed list, each with its word.

use crate::limiter::Refusal;
use crate::numbers::NEVER;
use crate::obstacle::{Busy, Obstacle};
use crate::service::Hindrance;

/// What the row of a task says. Times are in microseconds since 2000-01-01.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskState {
    pub is_finished: bool,
    /// The transaction that has enqueued the task is the caller's own, and still open.
    pub is_uncommitted: bool,
    /// The task came from another database.
    pub is_unadopted: bool,
    pub scheduled_at: i64,
    pub not_before: Option<i64>,
    pub is_leased: bool,
    /// The call of the task, if the task is between its steps.
    pub call: Option<CallState>,
    /// The process that has locked the row; 0 for a prepared transaction.
    pub locked_by: Option<i32>,
    /// The task of the same unique key that has to end first.
    pub follows: Option<i64>,
    /// The pause of its queue key; the time when it ends, or `NEVER`.
    pub key_paused: Option<i64>,
    /// The task of the same queue key that has to end first.
    pub key_busy: Option<i64>,
    /// The pause that keeps it from starting.
    pub paused: Option<Paused>,
}

/// What keeps tasks from starting by a person's decision. Times are when it ends by itself, or `NEVER`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Paused {
    Database(i64),
    /// This process drains the database.
    Draining(i32),
    Type(i64),
    Provider(i64),
}

impl Paused {
    fn until(self) -> Option<i64> {
        match self {
            Paused::Database(until) | Paused::Type(until) | Paused::Provider(until) => {
                Some(until).filter(|until| *until != NEVER)
            }
            Paused::Draining(_) => None,
        }
    }
}

/// What is known of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallState {
    /// The live worker that waits for the response.
    pub worker: Option<i32>,
    pub has_response: bool,
    /// Why its provider admits no further request.
    pub refusal: Option<Refusal>,
    /// Whether the request waits for its provider to admit it; `None` if the worker does not tell.
    pub is_queued: Option<bool>,
}

/// What is known around a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Surroundings {
    pub is_preloaded: bool,
    pub is_standby: bool,
    /// The extension has the version of the library.
    pub is_current: bool,
    /// The worker that runs the task.
    pub runner: Option<Busy>,
    pub obstacle: Option<Obstacle>,
    /// The number of tasks before this one that may start now, up to a limit.
    pub ahead: i64,
}

/// Why a task has not started, or has not ended. Times are in microseconds since 2000-01-01, processes are process IDs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    Finished,
    Uncommitted,
    NotPreloaded,
    Standby,
    Running(Busy),
    Unadopted,
    /// The response has arrived, and the worker has not run the last step yet.
    CallAnswered(i32),
    /// The request waits for its provider to admit it.
    CallQueued(i32, Option<Refusal>),
    /// The request was sent.
    CallInFlight(i32),
    /// The worker holds the request, which was sent or waits to be sent.
    CallOpen(i32),
    /// The worker of the call is gone.
    CallOrphaned,
    Leased(i64),
    Scheduled(i64),
    Deferred(i64),
    /// An operator has paused the database, its type or its provider.
    Paused(Paused),
    Locked(i32),
    /// This task of the same unique key has to end first.
    Follows(i64),
    /// Its queue key is paused until this time, or until it is resumed (`NEVER`).
    KeyPaused(i64),
    /// This task of the same queue key has to end first.
    KeyBusy(i64),
    VersionMismatch,
    Obstacle(Obstacle),
    /// Ready tasks come first.
    Behind {
        tasks: i64,
        /// The number of workers if all of them run tasks, else 0.
        busy: u32,
    },
    Next,
}

impl Reason {
    /// The reason at `now`. If there are several, what concerns the whole server comes first, then the row, then the
    /// workers.
    pub fn of(task: &TaskState, around: &Surroundings, now: i64) -> Reason {
        let not_before = task.not_before.filter(|time| *time > now);
        match (around.runner, task.call) {
            _ if task.is_finished => Reason::Finished,
            _ if task.is_uncommitted => Reason::Uncommitted,
            _ if !around.is_preloaded => Reason::NotPreloaded,
            _ if around.is_standby => Reason::Standby,
            _ if task.is_unadopted => Reason::Unadopted,
            (Some(runner), _) => Reason::Running(runner),
            (None, Some(call)) => Reason::of_call(&call, around),
            _ if task.scheduled_at > now => Reason::Scheduled(task.scheduled_at),
            _ => match not_before {
                Some(until) if task.is_leased => Reason::Leased(until),
                Some(until) => Reason::Deferred(until),
                None => Reason::of_ready(task, around),
            },
        }
    }

    fn of_call(call: &CallState, around: &Surroundings) -> Reason {
        match (call.worker, around.obstacle) {
            (Some(worker), _) if call.has_response => Reason::CallAnswered(worker),
            (Some(worker), _) => match call.is_queued {
                Some(true) => Reason::CallQueued(worker, call.refusal),
                Some(false) => Reason::CallInFlight(worker),
                None => Reason::CallOpen(worker),
            },
            _ if !around.is_current => Reason::VersionMismatch,
            (None, None | Some(Obstacle::Busy { .. } | Obstacle::Full)) => Reason::CallOrphaned,
            (None, Some(obstacle)) => Reason::Obstacle(obstacle),
        }
    }

    fn of_ready(task: &TaskState, around: &Surroundings) -> Reason {
        if let Some(paused) = task.paused {
            return Reason::Paused(paused);
        }
        if let Some(pid) = task.locked_by {
            return Reason::Locked(pid);
        }
        if let Some(task_id) = task.follows {
            return Reason::Follows(task_id);
        }
        if let Some(until) = task.key_paused {
            return Reason::KeyPaused(until);
        }
        if let Some(task_id) = task.key_busy {
            return Reason::KeyBusy(task_id);
        }
        match around.obstacle {
            _ if !around.is_current => Reason::VersionMismatch,
            None if around.ahead > 0 => Reason::Behind { tasks: around.ahead, busy: 0 },
            Some(Obstacle::Busy { workers, .. }) if around.ahead > 0 => {
                Reason::Behind { tasks: around.ahead, busy: workers }
            }
            Some(obstacle) => Reason::Obstacle(obstacle),
            None => Reason::Next,
        }
    }

    /// True if nothing but tasks before it can keep the task from being started.
    pub fn is_next(&self) -> bool {
        matches!(self, Reason::Next | Reason::Obstacle(Obstacle::Busy { .. }))
    }

    /// True if the task counts as running.
    pub fn is_running(&self) -> bool {
        use Reason::{CallAnswered, CallInFlight, CallOpen, CallQueued, Leased, Running};
        matches!(
            self,
            Running(_) | CallAnswered(_) | CallQueued(..) | CallInFlight(_) | CallOpen(_) | Leased(_)
        )
    }

    /// Until when the reason lasts, if that is known.
    pub fn until(&self) -> Option<i64> {
        match self {
            Reason::Leased(until) | Reason::Scheduled(until) | Reason::Deferred(until) => Some(*until),
            Reason::Paused(paused) => paused.until(),
            Reason::KeyPaused(until) => Some(*until).filter(|until| *until != NEVER),
            Reason::CallQueued(_, refusal) => refusal.and_then(Refusal::until),
            Reason::Obstacle(obstacle) => obstacle.until(),
            _ => None,
        }
    }
}

/// Defines the word of each reason.
macro_rules! words {
    ($($reason:pat => $word:literal,)*) => {
        impl Reason {
            /// The words of all reasons.
            pub const WORDS: &[&str] = &[$($word),*];

            /// The word of the reason.
            pub fn word(&self) -> &'static str {
                match self {
                    $($reason => $word,)*
                }
            }
        }
    };
}

words! {
    Reason::Finished => "finished",
    Reason::Uncommitted => "uncommitted",
    Reason::NotPreloaded => "not_preloaded",
    Reason::Standby => "standby",
    Reason::Unadopted => "unadopted",
    Reason::Running(_) => "running",
    Reason::CallAnswered(_) => "call_answered",
    Reason::CallQueued(..) => "call_queued",
    Reason::CallInFlight(_) => "call_in_flight",
    Reason::CallOpen(_) => "call_open",
    Reason::CallOrphaned => "call_orphaned",
    Reason::Scheduled(_) => "scheduled",
    Reason::Leased(_) => "leased",
    Reason::Deferred(_) | Reason::Obstacle(Obstacle::Deferred { .. }) => "deferred",
    Reason::Paused(Paused::Database(_)) => "database_paused",
    Reason::Paused(Paused::Draining(_)) => "draining",
    Reason::Paused(Paused::Type(_)) => "type_paused",
    Reason::Paused(Paused::Provider(_)) | Reason::Obstacle(Obstacle::Provider(Refusal::ByOperator(_))) => "provider_paused_by_operator",
    Reason::Locked(_) => "locked",
    Reason::Follows(_) => "follows",
    Reason::KeyPaused(_) => "key_paused",
    Reason::KeyBusy(_) | Reason::Obstacle(Obstacle::KeyBusy(_)) => "key_busy",
    Reason::VersionMismatch => "version_mismatch",
    Reason::Obstacle(Obstacle::Launcher) => "launcher_starting",
    Reason::Obstacle(Obstacle::NotServed) => "not_served",
    Reason::Obstacle(Obstacle::TooManyDatabases) => "too_many_databases",
    Reason::Obstacle(Obstacle::Hindered(Hindrance::NoRole)) => "role_missing",
    Reason::Obstacle(Obstacle::Hindered(Hindrance::NoConnections)) => "no_connections",
    Reason::Obstacle(Obstacle::Hindered(Hindrance::NoLogin)) => "role_lacks_login",
    Reason::Obstacle(Obstacle::Hindered(Hindrance::NoConnect)) => "role_lacks_connect",
    Reason::Obstacle(Obstacle::Hindered(Hindrance::ReadOnly(_))) => "read_only",
    Reason::Obstacle(Obstacle::Quiesced(_)) => "quiesced",
    Reason::Obstacle(Obstacle::Paused) => "paused",
    Reason::Obstacle(Obstacle::Failing { .. }) => "workers_failing",
    Reason::Obstacle(Obstacle::NoProcess) => "no_process",
    Reason::Obstacle(Obstacle::NoPlace) => "max_workers",
    Reason::Obstacle(Obstacle::Starting) => "worker_starting",
    Reason::Obstacle(Obstacle::Interrupted(_)) => "interrupted",
    Reason::Obstacle(Obstacle::KeyRate(_)) => "key_rate",
    Reason::Obstacle(Obstacle::TypeFull(_)) => "type_full",
    Reason::Obstacle(Obstacle::TypeRate(_)) => "type_rate",
    Reason::Obstacle(Obstacle::TypeUncounted) => "type_uncounted",
    Reason::Obstacle(Obstacle::Provider(Refusal::Paused(_))) => "provider_paused",
    Reason::Obstacle(Obstacle::Provider(Refusal::Broken(_))) => "breaker_open",
    Reason::Obstacle(Obstacle::Provider(Refusal::Probing(_))) => "provider_probed",
    Reason::Obstacle(Obstacle::Provider(Refusal::Rate(_))) => "rate_limit",
    Reason::Obstacle(Obstacle::Provider(Refusal::Full)) => "provider_full",
    Reason::Obstacle(Obstacle::Lane(_)) => "lane_closed",
    Reason::Obstacle(Obstacle::Full) => "max_in_flight",
    Reason::Obstacle(Obstacle::Busy { .. }) => "workers_busy",
    Reason::Behind { .. } => "behind",
    Reason::Next => "next",
}

#[cfg(test)]
mod tests;
