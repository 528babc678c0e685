//! A worker process: one database, one task at a time, many provider calls in flight.
//!
//! The steps of a task: [`wake`], [`claim`], [`dispatch`], [`process`], [`record`]. This file is the loop around them.

mod admission;
mod calls;
mod claim;
mod claim_key;
mod claim_row;
mod claimed_task;
pub mod columns;
mod counting;
mod deferred;
mod definitions;
mod dispatch;
mod ending;
mod failing;
mod faults;
mod history;
mod key_heads;
mod pace;
mod pauses;
mod process;
mod read;
mod read_keys;
mod record;
mod repetition;
mod rest;
mod retention;
mod run;
mod runner;
mod set_up;
mod statistics;
mod stored_settings;
mod tables;
mod task_log;
mod task_row;
mod unadopted;
pub mod wake;

use crate::config::{self, LogLevel};
use crate::error::PgError;
use crate::handler::Handlers;
use crate::inject;
use crate::pg::wait_event::WaitEvent;
use crate::pg::{activity, backend, bgworker, interrupt, latch, log, session, timeout, transaction};
use crate::shared::Over;
pub use crate::slot::attached::{is_me, is_one};
use crate::slot::{MySlot, Signals, attached};
use crate::stats;
use crate::task_definition::TaskDefinitions;
use calls::Calls;
use deferred::Deferred;
use definitions::Definitions;
use faults::Faults;
use history::History;
use retention::Retention;
use run::Claimable;
use runner::Runner;
use set_up::Found;
use statistics::Statistics;
use std::time::{Duration, Instant};
use stored_settings::StoredSettings;
use tables::Tables;

/// The pause after an error in the worker's own statements.
const FAULT_PAUSE: Duration = Duration::from_secs(1);
/// The interval at which a worker checks whether stored settings are known again.
const SETTINGS_PAUSE: Duration = Duration::from_millis(2);
/// The interval at which a worker that only waits for its last responses looks for work.
const RETIRING_PAUSE: Duration = Duration::from_secs(1);
/// Start-up grace period before orphaned calls are taken over: a worker first runs the task it was started for.
const ORPHANS_GRACE: Duration = Duration::from_millis(20);

/// The state of the loop itself. Each step receives the parts that it needs.
struct Worker {
    slot: MySlot,
    tables: Tables,
    runner: Runner,
    calls: Calls,
    deferred: Deferred,
    definitions: Definitions,
    stored_settings: StoredSettings,
    retention: Retention,
    statistics: Statistics,
    history: History,
    faults: Faults,
    started_at: Instant,
    idle_since: Instant,
}

/// The main function of a worker process; it never returns.
pub fn main(slot: usize) -> ! {
    interrupt::install();
    backend::return_large_memory();
    let Some(slot) = attached::attach(slot) else { interrupt::exit(0) };
    bgworker::connect(slot.database, slot.role);
    activity::name(&format!("pg_errand worker {}", slot.number));
    stats::use_slot(slot.index);
    session::prepare();
    timeout::register();
    interrupt::remember_handlers();

    let found =
        set_up::set_up(slot).and_then(|found| found.map(|found| Worker::new(slot, found)).transpose());
    let mut worker = match found {
        Ok(Some(worker)) => worker,
        Ok(None) => interrupt::exit(0),
        Err(error) => {
            log::event_with_hint(
                LogLevel::Error,
                format!("worker {} cannot start: sqlstate={} {}", slot.number, error.sqlstate, error.message),
                "The launcher starts another one later. If this goes on: select * from queues.health;".into(),
            );
            interrupt::exit(1)
        }
    };
    log::event(LogLevel::Debug, format!("worker {} started", slot.number));
    activity::running(format_args!("looking for tasks"));
    loop {
        match worker.turn() {
            Ok(true) => {}
            Ok(false) => {
                log::event(LogLevel::Debug, format!("worker {} leaves", slot.number));
                interrupt::exit(0)
            }
            Err(error) => worker.recover(&error),
        }
    }
}

impl Worker {
    fn new(slot: MySlot, found: Found) -> Result<Worker, PgError> {
        let Found { tables, role } = found;
        let calls = Calls::new(slot, tables).map_err(|error| PgError::new("58000", error.to_string()))?;
        Ok(Worker {
            slot,
            tables,
            runner: Runner::new(slot, tables, Handlers::new(tables.owner, role)),
            calls,
            deferred: Deferred::default(),
            definitions: Definitions::UNKNOWN,
            stored_settings: StoredSettings::default(),
            retention: Retention::default(),
            statistics: Statistics::default(),
            history: History::default(),
            faults: Faults::default(),
            started_at: Instant::now(),
            idle_since: Instant::now(),
        })
    }

    /// One turn of the loop; false if the worker has to exit.
    fn turn(&mut self) -> Result<bool, PgError> {
        interrupt::check();
        let mut is_reloaded = interrupt::reload_if_asked();
        let signals = self.runner.signals();
        if signals.reload {
            self.slot.note_reload();
            interrupt::reload();
            is_reloaded = true;
        }
        let is_retiring = self.is_unclean() || signals.retire;
        let mut is_busy = calls::cancel_calls(&mut self.calls, signals.cancels)?;
        if is_retiring && self.calls.can_be_left() {
            self.leave_calls();
            return Ok(false);
        }
        let known_changes = self.definitions.changes;
        self.definitions.refresh(self.slot, &signals, is_reloaded)?;
        let has_changed = self.definitions.changes != known_changes;
        if has_changed {
            self.deferred.forget_keys();
        }
        if has_changed || is_reloaded {
            self.retention.forget_limits();
        }
        let may_claim = !is_retiring && self.stored_settings.are_current(self.slot, signals.settings);
        if signals.unadopted_to_report {
            unadopted::report(self.slot, &self.tables)?;
        }
        if signals.pause_over {
            pauses::end_over(self.slot, &self.tables)?;
        }
        self.calls.begin_turn(signals.resumes, is_retiring);
        is_busy |= calls::send_queued(&mut self.calls)?;
        is_busy |= calls::flush(&mut self.calls, false)?;
        is_busy |= calls::finish_answered(&mut self.runner, &mut self.calls)?;
        // The handler of a response may have left something behind that a later task must not see.
        if may_claim && !self.is_unclean() {
            is_busy |= self.work(&signals)?;
        }
        if is_busy || calls::flush(&mut self.calls, true)? {
            self.idle_since = Instant::now();
            self.statistics.note();
            self.statistics.report();
            self.history.note();
            self.history.step(self.slot, &self.tables);
            self.retention.step_aside(self.slot, &self.tables)?;
            return Ok(true);
        }
        if !may_claim {
            let limit = if is_retiring { RETIRING_PAUSE } else { SETTINGS_PAUSE };
            rest::wait_for_calls(&self.calls, limit);
            return Ok(true);
        }
        if self.retention.step(self.slot, &self.tables)? {
            // Autovacuum depends on the number of rows that were removed.
            self.statistics.note();
            self.statistics.report();
            return Ok(true);
        }
        self.rest(&signals)
    }

    /// Claims and runs a task, and takes over orphaned calls; false if there was nothing to do.
    fn work(&mut self, signals: &Signals) -> Result<bool, PgError> {
        self.deferred.over().into_iter().for_each(|taken| self.slot.hand_back(taken));
        if signals.starts_nothing {
            return calls::take_over(&mut self.calls, signals.orphans);
        }
        if signals.due {
            self.slot.see_to_due(signals.at);
        }
        if signals.due || signals.sweep {
            read::sweep_if_due(self.slot, &self.tables, self.definitions.changes)?;
        }
        let definitions = TaskDefinitions::known();
        let from = Claimable {
            sources: self.calls.sources(&definitions, self.definitions.lanes, signals.waiting),
            definitions: &definitions,
            definition_changes: self.definitions.changes,
            pass_on_due_since: signals.due.then_some(signals.at),
        };
        let has_run = run::run_next(&mut self.runner, &mut self.calls, &mut self.deferred, &from)?;
        let may_take_over = !has_run || self.started_at.elapsed() > ORPHANS_GRACE;
        Ok(has_run | (may_take_over && calls::take_over(&mut self.calls, signals.orphans)?))
    }

    /// True if a task has left something in this process that later tasks would see. The process then invokes no
    /// further handler, and exits.
    fn is_unclean(&mut self) -> bool {
        let Some(trace) = session::lasting_trace() else { return false };
        if self.calls.stop_handlers() {
            log::event(LogLevel::Debug, format!("worker {}: a task has left {trace}", self.slot.number));
            self.slot.retire();
        }
        true
    }

    /// Lets other workers search for the calls that this worker leaves behind.
    fn leave_calls(&self) {
        if self.calls.leaves_orphans() {
            self.slot.change_database(|database| database.orphans = true);
        }
    }

    /// Waits for work; false if it is time to exit.
    fn rest(&mut self, signals: &Signals) -> Result<bool, PgError> {
        self.calls.show();
        self.retention.note_ended(self.slot, &self.tables)?;
        let report = self.statistics.report();
        let history = self.history.step(self.slot, &self.tables);
        let is_to_look = signals.look_ahead || signals.due;
        let rest = if is_to_look { Some(rest::look_ahead(&self.tables, signals.at)?) } else { None };
        let repeat = self.calls.next_repeat().into_iter().chain(self.deferred.next()).chain(report);
        let repeat = repeat.chain(history).chain(self.retention.pause()).min();
        let limit = repeat.unwrap_or(Duration::MAX).min(self.time_to_leave());
        if rest::wait(self.slot, &self.calls, signals.announced, rest, limit) {
            if self.time_to_leave().is_zero() && self.calls.len() == 0 && self.slot.leave() {
                inject::point("leaving");
                return Ok(false);
            }
            inject::point("woken");
            self.slot.wake_up();
        }
        Ok(true)
    }

    /// How long this worker may remain idle. There is no limit while it waits for responses, or defers a task that is
    /// known to no other process.
    fn time_to_leave(&self) -> Duration {
        let limit = config::MAX_IDLE_TIME.duration();
        let has_calls = self.calls.len() > 0 || self.calls.waits_for_orphans();
        if limit.is_zero() || has_calls || self.deferred.next().is_some() {
            return Duration::MAX;
        }
        limit.saturating_sub(self.idle_since.elapsed())
    }

    /// Continues after an error in one of the worker's own statements.
    fn recover(&mut self, error: &PgError) {
        self.slot.end(Over::GivenBack);
        let _ = transaction::commit_after(session::discard_leftovers);
        self.faults.log(&format!("worker {}", self.slot.number), error);
        if error.is_missing_object() {
            interrupt::exit(1);
        }
        activity::idle();
        latch::wait(WaitEvent::Fault, None, FAULT_PAUSE);
    }
}
