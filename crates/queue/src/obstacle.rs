//! Why a task has not been started, as far as shared memory tells. Nothing here changes anything.

use crate::ids::DatabaseId;
use crate::journal::Journal;
use crate::key_line::Key;
use crate::lane::Lane;
use crate::latch::Latch;
use crate::limiter::{Refusal, Terms};
use crate::limits::{StartLimits, type_account};
use crate::numbers::NEVER;
use crate::service::{Hindrance, Service};
use crate::shared::Shared;
use crate::slot::{Slot, SlotState};

/// How long a failure to start a process counts, in microseconds. The launcher tries again more often than that.
const REFUSED_FOR: i64 = 1_000_000;

/// True if the launcher could start no process when it last tried, at this time.
const fn is_recent(refused_at: i64, now: i64) -> bool {
    refused_at.saturating_add(REFUSED_FOR) > now
}

/// A task that is ready according to its row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ready {
    pub database: DatabaseId,
    pub task_id: i64,
    pub lane: Lane,
    /// The limits of its provider, if it needs one.
    pub terms: Option<Terms>,
    /// The limits of its type, if there are any.
    pub limits: Option<StartLimits>,
    /// The number of tasks of its type that workers outside have leased.
    pub leased: u32,
    /// Its queue key, if it has one.
    pub key: Option<KeyOf>,
}

/// The queue key of a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyOf {
    pub key: Key,
    /// The number of its tasks that may run at a time.
    pub max_running: u32,
    /// The number of its other tasks that are between the steps of a call or leased.
    pub busy: u32,
    /// Its type limits how often tasks of a key start.
    pub has_rate: bool,
}

/// A worker and the task that it runs; 0 for none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy {
    pub pid: i32,
    pub task_id: i64,
    /// Since when the worker runs the task, in microseconds since 2000-01-01.
    pub since: i64,
}

/// What keeps a ready task from being started. Times are in microseconds since 2000-01-01.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// The launcher is not running, or has not looked at the database yet.
    Launcher,
    /// The database is not one of those that workers serve.
    NotServed,
    /// There are more databases with the extension than can be served.
    TooManyDatabases,
    Hindered(Hindrance),
    /// A command of this process quiesces the database.
    Quiesced(i32),
    /// The database may have no workers (`pg_errand.concurrency`).
    Paused,
    /// Workers have failed to start, and the next one is started at this time.
    Failing {
        failures: u32,
        until: i64,
    },
    /// No process could be started (`max_worker_processes`).
    NoProcess,
    /// Workers of other databases are as many as there may be (`pg_errand.max_workers`).
    NoPlace,
    /// A worker is being started.
    Starting,
    /// A worker has deferred the task until this time, after an error that may pass.
    Deferred {
        pid: i32,
        until: i64,
    },
    /// The task has made its workers leave, and is paused until this time.
    Interrupted(i64),
    /// As many tasks of its queue key run as may; the one that began first, if a worker shows any.
    KeyBusy(Option<Busy>),
    /// The next task of its queue key may start at this time.
    KeyRate(i64),
    /// As many tasks of its type run as may; the one that began first, if a worker shows any.
    TypeFull(Option<Busy>),
    /// The next task of its type may start at this time.
    TypeRate(i64),
    /// It is unknown how many tasks of its type run, since calls of a worker that is gone may be among them.
    TypeUncounted,
    /// The provider of the task admits no request.
    Provider(Refusal),
    /// The lane of the task is closed until this time, or until a call or a task ends (`NEVER`).
    Lane(i64),
    /// Every worker has as many calls as it may have.
    Full,
    /// All workers that may take the task are running others; how many, the one that began first, and what keeps another
    /// worker from being started.
    Busy {
        workers: u32,
        first: Busy,
        bound: Option<Bound>,
    },
}

/// What limits the number of workers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// The database has as many as `pg_errand.concurrency` allows: this many.
    Concurrency(u32),
    /// There are as many as `pg_errand.max_workers` allows.
    MaxWorkers,
    /// No further process could be started (`max_worker_processes`).
    Processes,
}

impl Obstacle {
    /// Until when the obstacle lasts, if that is known.
    pub fn until(&self) -> Option<i64> {
        match *self {
            Obstacle::Failing { until, .. }
            | Obstacle::Deferred { until, .. }
            | Obstacle::Interrupted(until)
            | Obstacle::KeyRate(until)
            | Obstacle::TypeRate(until) => Some(until),
            Obstacle::Lane(until) => Some(until).filter(|until| *until != NEVER),
            Obstacle::Provider(refusal) => refusal.until(),
            _ => None,
        }
    }
}

impl<L: Latch, const S: usize, const D: usize, const W: usize, const C: usize, const A: usize>
    Shared<L, S, D, W, C, A>
{
    /// The worker that runs a task.
    pub fn runner_of(&self, database: DatabaseId, task_id: i64) -> Option<Busy> {
        self.slots_of(database).find(|slot| slot.shows(database, task_id)).map(busy)
    }

    /// The worker of this process, if it runs a task.
    pub fn busy_worker(&self, database: DatabaseId, pid: i32) -> Option<Busy> {
        self.slots_of(database).find(|slot| slot.is_live() && slot.pid == pid && slot.task_id != 0).map(busy)
    }

    /// The live worker with this identity.
    pub fn worker_of(&self, database: DatabaseId, owner: i64) -> Option<&Slot<L>> {
        self.slots_of(database).find(|slot| slot.owner == owner && slot.is_live())
    }

    /// Why a provider admits no further request now.
    pub fn refusal(&self, database: DatabaseId, terms: &Terms, now: i64) -> Option<Refusal> {
        self.limiter.refusal(database, terms, self.in_flight(terms.account), now)
    }

    /// What keeps a ready task from being started now; `None` if nothing but tasks before it. `max_workers` is the
    /// number of workers of all databases that there may be.
    pub fn obstacle<const R: usize>(
        &self,
        journal: &Journal<S, R>,
        task: &Ready,
        max_workers: usize,
        now: i64,
    ) -> Option<Obstacle> {
        self.obstacle_to_workers(task.database, max_workers, now)
            .or_else(|| journal.paused_until(task.database, task.task_id, now).map(Obstacle::Interrupted))
            .or_else(|| self.deferred(task, now))
            .or_else(|| self.obstacle_to_key(task, now))
            .or_else(|| self.obstacle_to_tasks_like(task, now))
            .or_else(|| self.obstacle_to_start(task, max_workers, now))
    }

    /// True if no task of the type of this one may be started now, so that others are, although they come later.
    pub fn is_passed_over(&self, task: &Ready, now: i64) -> bool {
        self.obstacle_to_tasks_like(task, now).is_some() || self.first_able(task) == Err(Obstacle::Full)
    }

    /// The tasks that may not start now although their rows say nothing of it.
    pub fn withheld<'a, const R: usize>(
        &'a self,
        journal: &'a Journal<S, R>,
        database: DatabaseId,
        now: i64,
    ) -> impl Iterator<Item = i64> {
        let deferred = self.staff(database).flat_map(move |slot| slot.deferred.at(now));
        deferred.chain(journal.paused(database, now))
    }

    /// What keeps all tasks of the type of this one from being started.
    fn obstacle_to_tasks_like(&self, task: &Ready, now: i64) -> Option<Obstacle> {
        self.obstacle_to_type(task, now)
            .or_else(|| self.obstacle_to_calls(task, now))
            .or_else(|| self.closed_lane(task, now))
    }

    /// What keeps the database from having any worker. `max_workers` as in [`Shared::obstacle`].
    pub fn obstacle_to_workers(&self, id: DatabaseId, max_workers: usize, now: i64) -> Option<Obstacle> {
        let Some(database) = self.databases.iter().find(|database| database.id == id) else {
            let is_full = self.databases.iter().all(|database| database.id != DatabaseId::NONE);
            return Some(if is_full { Obstacle::TooManyDatabases } else { Obstacle::Launcher });
        };
        if let Some(pid) = database.quiesced_by.iter().find(|pid| **pid != 0) {
            return Some(Obstacle::Quiesced(*pid));
        }
        match database.service {
            Service::NotServed => return Some(Obstacle::NotServed),
            Service::Hindered(hindrance) => return Some(Obstacle::Hindered(hindrance)),
            Service::Workers(0) => return Some(Obstacle::Paused),
            Service::Undecided | Service::Workers(_) => {}
        }
        if self.staff(id).next().is_some() {
            return None;
        }
        let until = database.start_allowed_at();
        Some(match database.service {
            // To decide, the launcher needs a process that reads the stored settings.
            Service::Undecided if is_recent(self.no_process_at, now) => Obstacle::NoProcess,
            Service::Undecided => Obstacle::Launcher,
            _ if until > now => Obstacle::Failing { failures: database.failures, until },
            _ if self.slots_of(id).any(|slot| slot.state == SlotState::Starting) => Obstacle::Starting,
            _ if self.used_places() >= max_workers => Obstacle::NoPlace,
            _ if is_recent(database.no_process_at, now) => Obstacle::NoProcess,
            _ => Obstacle::Starting,
        })
    }

    /// True if the database has workers, all of them are busy, and the launcher could start no process for the further one
    /// that it wants.
    pub fn lacks_process(&self, id: DatabaseId, now: i64) -> bool {
        let refused_at =
            self.databases.iter().find(|database| database.id == id).map(|database| database.no_process_at);
        let is_refused = refused_at.is_some_and(|at| is_recent(at, now));
        is_refused
            && self.staff(id).next().is_some()
            && self.staff(id).all(|slot| slot.state != SlotState::Idle || slot.full)
    }

    fn deferred(&self, task: &Ready, now: i64) -> Option<Obstacle> {
        let until = |slot: &Slot<L>| Some((slot.pid, slot.deferred.until(task.task_id, now)?));
        let (pid, until) = self.staff(task.database).find_map(until)?;
        Some(Obstacle::Deferred { pid, until })
    }

    /// What keeps another task of the queue key from being started.
    fn obstacle_to_key(&self, task: &Ready, now: i64) -> Option<Obstacle> {
        let KeyOf { key, max_running, busy: others, has_rate } = task.key?;
        let runs_other = |slot: &&Slot<L>| slot.shows_key(key) && ![0, task.task_id].contains(&slot.task_id);
        let running = || self.slots_of(task.database).filter(runs_other);
        if running().count() as u32 + others >= max_running {
            return Some(Obstacle::KeyBusy(running().min_by_key(|slot| slot.busy_since).map(busy)));
        }
        // A worker that shows the key and runs no task has a start, or is about to get one.
        let is_starting = self.slots_of(task.database).any(|slot| slot.shows_key(key) && slot.task_id == 0);
        let limits = has_rate && !is_starting;
        self.key_rates.refusal(task.database, key, now).filter(|_| limits).map(Obstacle::KeyRate)
    }

    /// What keeps another task of the type from being started.
    fn obstacle_to_type(&self, task: &Ready, now: i64) -> Option<Obstacle> {
        let limits = task.limits?;
        let account = limits.terms.account;
        let has_reserved = |slot: &Slot<L>| {
            slot.start.is_some_and(|start| start.terms.account == account)
                && slot.taken.is_some_and(|(_, taken)| taken.position.task_id == task.task_id)
        };
        if self.slots_of(task.database).any(has_reserved) {
            return None;
        }
        if self.is_uncounted(task.database, &limits) {
            return Some(Obstacle::TypeUncounted);
        }
        let running = self.running(task.database, account) + task.leased;
        let refusal = self.limiter.refusal(task.database, &limits.terms, running, now)?;
        Some(match refusal.until() {
            Some(until) => Obstacle::TypeRate(until),
            None => Obstacle::TypeFull(self.first_of_type(task.database, account)),
        })
    }

    /// The task of a type that began first, among those that run in workers.
    fn first_of_type(&self, database: DatabaseId, account: u64) -> Option<Busy> {
        let running = self.slots_of(database).filter(|slot| slot.is_live() && slot.task_id != 0);
        let of_type = running.filter(|slot| type_account(database, slot.task_type.as_str()) == account);
        of_type.min_by_key(|slot| slot.busy_since).map(busy)
    }

    /// What keeps the provider of the task from being called.
    fn obstacle_to_calls(&self, task: &Ready, now: i64) -> Option<Obstacle> {
        self.refusal(task.database, task.terms.as_ref()?, now).map(Obstacle::Provider)
    }

    /// Until when the lane of the task is closed although its own provider and type are not in the way: others were
    /// refused that have the same lane, or the limits have changed since.
    fn closed_lane(&self, task: &Ready, now: i64) -> Option<Obstacle> {
        self.queue_of(task.database)?.closed(task.lane, now).map(Obstacle::Lane)
    }

    /// What keeps the workers of the database from starting the task. `max_workers` as in [`Shared::obstacle`].
    fn obstacle_to_start(&self, task: &Ready, max_workers: usize, now: i64) -> Option<Obstacle> {
        match self.first_able(task) {
            Ok((_, first)) if first.task_id == 0 => None,
            Ok((workers, first)) => {
                Some(Obstacle::Busy { workers, first, bound: self.bound(task.database, max_workers, now) })
            }
            Err(obstacle) => Some(obstacle),
        }
    }

    /// The number of workers that may take the task, and one of them: a free one, or that which has been busy for longest.
    fn first_able(&self, task: &Ready) -> Result<(u32, Busy), Obstacle> {
        let may_take = |slot: &&Slot<L>| task.terms.is_none() || !slot.full;
        let able = || self.staff(task.database).filter(may_take);
        let first = able().min_by_key(|slot| (slot.task_id != 0, slot.busy_since));
        first.map(|first| (able().count() as u32, busy(first))).ok_or(Obstacle::Full)
    }

    /// What keeps a database that has workers from having another one. `max_workers` as in [`Shared::obstacle`].
    fn bound(&self, id: DatabaseId, max_workers: usize, now: i64) -> Option<Bound> {
        let database = self.databases.iter().find(|database| database.id == id)?;
        match database.service {
            Service::Workers(most) if self.staff(id).count() >= most as usize => {
                Some(Bound::Concurrency(most))
            }
            _ if self.used_places() >= max_workers => Some(Bound::MaxWorkers),
            _ if is_recent(database.no_process_at, now) => Some(Bound::Processes),
            _ => None,
        }
    }

    /// The workers of a database that can still take tasks.
    pub(crate) fn staff(&self, id: DatabaseId) -> impl Iterator<Item = &Slot<L>> {
        self.slots_of(id).filter(|slot| slot.is_live() && slot.state != SlotState::Leaving && !slot.retire)
    }

    fn used_places(&self) -> usize {
        self.slots[..self.used_slots].iter().filter(|slot| slot.state != SlotState::Free).count()
    }
}

fn busy<L>(slot: &Slot<L>) -> Busy {
    Busy { pid: slot.pid, task_id: slot.task_id, since: slot.busy_since }
}

#[cfg(test)]
mod tests;
