//! A worker process: one database, one task at a time, many provider calls in flight.

mod avoid;
mod calls;
pub mod claim;
mod copied;
pub mod dispatch;
mod faults;
mod flow;
pub mod process;
mod read;
pub mod record;
mod retention;
mod set_up;
pub mod slot;
mod table;
pub mod task;
pub mod wake;

use crate::config::{self, LogLevel};
use crate::error::{Failure, PgError};
use crate::handler::{Handlers, Stop};
use crate::inject;
use crate::pg::table::Table;
use crate::pg::transaction::{self, End as Transaction};
use crate::pg::{
    activity, backend, bgworker, callbacks, interrupt, invalidation, latch, log, session, timeout,
};
use crate::shared::{Admission, Interrupted, LaneSet, NotFree, Over, Sources, Terms};
use crate::task_definition::TaskDefinitions;
use crate::unwritten::Means;
use claim::Claimed;
use pgrx::pg_sys;
use process::Step;
use slot::{MySlot, Settings, Signals};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use task::{Brief, Task};

/// Pause after a fault that is nobody's task.
const FAULT_PAUSE: Duration = Duration::from_secs(1);
/// Statistics are reported at least so often while a worker is busy.
const STATISTICS_INTERVAL: Duration = Duration::from_secs(1);

/// Stored settings are waited for at most so long, if they cannot be read …
const MAX_UNSURE: Duration = Duration::from_secs(1);
/// … and looked for so often.
const SETTINGS_LOOK: Duration = Duration::from_millis(2);

/// Calls of workers that are gone are looked for so long after the start of this one.
const SETTLED_AFTER: Duration = Duration::from_millis(20);
/// Another worker is waited for so long while it reads what comes next.
const READING_PAUSE: Duration = Duration::from_millis(1);
/// A worker that waits for its last answers looks around so often.
const RETIRED_LOOK: Duration = Duration::from_secs(1);

/// The slot to give back when this process ends.
static ATTACHED: OnceLock<MySlot> = OnceLock::new();

pub struct Worker {
    pub slot: MySlot,
    /// The extension's owner, as whom the worker's own statements run.
    pub owner: pg_sys::Oid,
    pub tasks: Table,
    pub call_rows: Table,
    /// The origin of the tasks that are run here.
    pub origin: i64,
    pub handlers: Handlers,
    calls: calls::Calls,
    avoided: avoid::Avoided,
    faults: faults::Faults,
    retention: retention::Pass,
    looked_for_orphans: bool,
    /// `Database::definition_changes` when the task types were last read.
    pub definition_changes: u64,
    /// The lanes that there are,
    lanes: LaneSet,
    /// and those in which tasks were known to wait when this worker last looked.
    waiting: LaneSet,
    /// What others wanted as the last task ended.
    signals: Option<Signals>,
    started: Instant,
    idle_since: Instant,
    reported_at: Instant,
    /// Something was done since.
    unreported: bool,
    /// Since when stored settings may have changed.
    unsure_since: Option<Instant>,
}

/// What came of trying to run a task.
enum Ran {
    Nothing,
    /// Another worker is reading what comes next.
    NotYet,
    /// Another worker is about to write what comes of the task.
    Elsewhere,
    /// This task is to wait for so many microseconds.
    Paused(i64, i64),
    Ended(process::End),
    Calling(crate::interface::Prepared),
    Stopped(Stop),
}

/// The life of a worker process; never returns.
pub fn main(slot: usize) -> ! {
    interrupt::install();
    backend::return_large_memory();
    let Some(slot) = MySlot::attach(slot) else { interrupt::exit(0) };
    let _ = ATTACHED.set(slot);
    // Before the connection, so that it runs after the transaction of a dying worker is undone.
    callbacks::on_exit(detach);
    bgworker::connect(slot.database, slot.role);
    activity::name(&format!("pg_errand worker {}", slot.number));
    session::prepare();
    timeout::register();
    interrupt::remember_handlers();

    let mut worker = match set_up::set_up(slot) {
        Ok(Some(worker)) => worker,
        Ok(None) => interrupt::exit(0),
        Err(error) => {
            log::event(LogLevel::Error, format!("worker {}: {}", slot.number, error.message));
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

/// True in the process of the worker `owner`.
pub fn is_me(owner: i64) -> bool {
    ATTACHED.get().is_some_and(|slot| slot.owner == owner)
}

/// True in the process of a worker.
pub fn is_one() -> bool {
    ATTACHED.get().is_some()
}

fn detach() {
    if let Some(slot) = ATTACHED.get() {
        slot.detach();
    }
}

/// Pause before the `n`th repetition after a serialization failure: 10 ms, doubled, 2 s at most.
pub fn repeat_pause(n: u32) -> Duration {
    Duration::from_millis(10 << n.min(8)).min(Duration::from_secs(2))
}

impl Worker {
    /// One turn of the loop; false if the worker should end.
    fn turn(&mut self) -> Result<bool, PgError> {
        interrupt::check();
        let mut reloaded = interrupt::reload_if_asked();
        let signals = self.signals.take().unwrap_or_else(|| self.slot.signals());
        if signals.reload {
            self.slot.note_reload();
            interrupt::reload();
            reloaded = true;
        }
        let unclean = self.is_unclean();
        let retiring = signals.retire || unclean;
        let mut busy = calls::cancel_calls(self, signals.cancels)?;
        if retiring && self.calls.can_be_left() {
            if self.calls.leave_orphans() {
                self.slot.change_database(|database| database.orphans = true);
            }
            return Ok(false);
        }
        self.waiting = signals.waiting;
        self.refresh_definitions(&signals, reloaded)?;
        let may_claim = !retiring && self.has_current_settings(signals.settings);
        if signals.held_to_tell {
            copied::tell_of_held(self)?;
        }
        calls::begin_turn(&mut self.calls, signals.resumes, retiring);
        busy |= calls::send_held(self)?;
        busy |= calls::settle(self, false)?;
        busy |= calls::finish_answered(self)?;
        // The handler of a response may just have left something that a task must not find.
        if may_claim && !self.is_unclean() {
            self.look_around(&signals)?;
            let ran = self.run_next(signals.due.then_some(signals.at))?;
            // A worker that was just started first runs what it was started for.
            let settled = !ran || self.started.elapsed() > SETTLED_AFTER;
            busy |= ran | (settled && calls::take_over(self, signals.orphans)?);
        }
        if busy || calls::settle(self, true)? {
            self.idle_since = Instant::now();
            self.unreported = true;
            self.report_statistics();
            retention::step_aside(self)?;
            return Ok(true);
        }
        if !may_claim {
            self.wait_without_claiming(if retiring { RETIRED_LOOK } else { SETTINGS_LOOK });
            return Ok(true);
        }
        if retention::step(self)? {
            return Ok(true);
        }
        self.rest(&signals)
    }

    /// True if a task has left something in this process that later tasks would find: no further handler is run here,
    /// and the worker leaves.
    fn is_unclean(&mut self) -> bool {
        let Some(trace) = session::lasting_trace() else { return false };
        if self.calls.run_no_handlers() {
            log::event(LogLevel::Debug, format!("worker {}: a task has left {trace}", self.slot.number));
            self.slot.retire();
        }
        true
    }

    /// False while stored settings have changed, or may have: the next task is not to see old ones.
    /// A worker with old ones leaves.
    fn has_current_settings(&mut self, settings: Settings) -> bool {
        match settings {
            Settings::Same => {
                self.unsure_since = None;
                true
            }
            Settings::Changed => {
                self.slot.retire();
                false
            }
            Settings::Unknown => {
                let since = *self.unsure_since.get_or_insert_with(Instant::now);
                since.elapsed() > MAX_UNSURE
            }
        }
    }

    /// Reads again what task types there are, if that may have changed.
    fn refresh_definitions(&mut self, signals: &Signals, reloaded: bool) -> Result<(), PgError> {
        // Settings name providers.
        if reloaded {
            self.lanes = TaskDefinitions::known().lanes();
        }
        if self.definition_changes != signals.definition_changes || invalidation::is_stale() {
            TaskDefinitions::refresh()?;
            self.definition_changes = signals.definition_changes;
            self.lanes = TaskDefinitions::known().lanes();
            self.tell_of_rows();
        }
        Ok(())
    }

    /// Says once which rows of task types and providers cannot be used.
    fn tell_of_rows(&self) {
        let problems = TaskDefinitions::known().problems();
        let texts: Vec<&str> = problems.iter().map(|(problem, _)| problem.as_str()).collect();
        let now = if texts.is_empty() { 0 } else { crate::pg::home::digest(&texts.join("\n")) };
        let told = self.slot.change_database(|database| std::mem::replace(&mut database.told_of_rows, now));
        if told != Some(now) {
            for (problem, hint) in problems {
                log::event_with_hint(LogLevel::Error, format!("{problem}; its tasks fail"), hint.into());
            }
        }
    }

    /// Looks for tasks that are ready and that no announcement led to.
    fn look_around(&mut self, signals: &Signals) -> Result<(), PgError> {
        for (lane, place) in self.avoided.over() {
            self.slot.hand_back(lane, place);
        }
        if signals.due {
            self.slot.see_to_due(signals.at);
        }
        if signals.due || signals.sweep { read::sweep_if_due(self) } else { Ok(()) }
    }

    /// Claims the next ready task and runs its first step. `pass_on`: since when somebody has to watch
    /// for what falls due.
    fn run_next(&mut self, pass_on: Option<i64>) -> Result<bool, PgError> {
        let mut claimed = None;
        let ran = transaction::run(|| {
            let mut task = match claim::next(self) {
                Claimed::Task(task) => task,
                Claimed::Nothing => return Transaction::Commit(Ran::Nothing),
                Claimed::NotYet => return Transaction::Commit(Ran::NotYet),
            };
            inject::point("claimed");
            // Before it is shown as running: a cancel from then on is to find its handler.
            if let Some(looked_at) = pass_on {
                wake::pass_on_due(self, looked_at);
            }
            let brief = task.brief();
            let earlier = match self.slot.begin(&brief) {
                Ok(earlier) => earlier,
                Err(NotFree::Elsewhere) => return Transaction::RollBack(Ran::Elsewhere),
                Err(NotFree::Paused(until)) => {
                    return Transaction::RollBack(Ran::Paused(task.id, until - task.started_at));
                }
            };
            // One that was cancelled with its worker's end, or is given up, is only ended now.
            let runs_again = !earlier.cancelled && !process::is_given_up(&earlier);
            task.uncounted = earlier.runs as i32 + i32::from(runs_again);
            claimed = Some(Brief { attempt: task.attempt(), uncounted: task.uncounted, ..brief });
            inject::point("begun");
            match self.step(&task, &earlier) {
                Ok(ran) => Transaction::Commit(ran),
                Err(stop) => Transaction::RollBack(Ran::Stopped(stop)),
            }
        });
        if ran.is_ok() && claimed.is_some() {
            inject::point("committed");
        }
        if let Some(brief) = &claimed
            && !matches!(ran, Ok(Ran::Calling(_)))
            && TaskDefinitions::known().find(&brief.task_type).is_some_and(|kind| kind.calls())
        {
            // Its provider had let it pass.
            self.show_calls();
        }
        match (ran, claimed) {
            (Ok(Ran::Nothing), _) => return Ok(false),
            (Ok(Ran::NotYet), _) => latch::wait(None, READING_PAUSE),
            (Ok(Ran::Paused(id, pause)), _) => self.put_aside(id, pause),
            (Ok(Ran::Elsewhere), _) | (Ok(_), None) => self.slot.leave_to_other(),
            (Ok(Ran::Ended(end)), Some(brief)) => self.end(Some((brief, end))),
            (Ok(Ran::Calling(prepared)), Some(brief)) => {
                calls::log_start(&brief, &prepared);
                self.slot.end(Over::Calling);
                inject::point("call_prepared");
                self.calls.send(brief.id, prepared);
                self.show_calls();
            }
            (Ok(Ran::Stopped(Stop::Cancelled)), Some(brief)) => self.cancel(&brief)?,
            (Ok(Ran::Stopped(Stop::Repeat)), Some(brief)) => self.repeat(&brief)?,
            (Ok(Ran::Stopped(Stop::Later(admission, terms))), Some(brief)) => {
                self.put_off(&brief, admission, &terms)?;
            }
            (Err(error), None) => return Err(error),
            // It may do in a while, and nothing has been called yet that would be called twice.
            (Err(error), Some(brief)) if error.is_passing() => {
                self.avoided.add(brief.id, avoid::WHILE_PASSING, self.slot.taken());
                return Err(error.of_task(brief.id));
            }
            (Err(error), Some(brief)) if brief.is_given_up => self.leave_alone(&brief, error)?,
            (Err(error), Some(brief)) => {
                return self.fail(&brief, error).or_else(|error| {
                    self.leave_alone(&brief, error)?;
                    Ok(true)
                });
            }
        }
        Ok(true)
    }

    /// The first step of a claimed task, recorded.
    fn step(&mut self, task: &Task, earlier: &Interrupted) -> Result<Ran, Stop> {
        match process::start(self, task, earlier)? {
            Step::Done(end) => {
                let means = if task.is_given_up { Means::Any } else { Means::Ordinary };
                record::finish(self, task, &end, means);
                inject::point("recorded");
                Ok(Ran::Ended(self.close(end)?))
            }
            Step::Call(prepared) => {
                record::store_call(self, task, &prepared);
                inject::point("call_recorded");
                Ok(Ran::Calling(self.close(prepared)?))
            }
        }
    }

    /// An error that came outside of the handlers, at the commit for instance.
    fn fail(&mut self, brief: &Brief, error: PgError) -> Result<bool, PgError> {
        if error.is_transient() && brief.attempt < process::MAX_RUNS {
            self.repeat(brief)?;
            return Ok(true);
        }
        let failure = Failure::caught(&format!("{} {}", brief.task_type, brief.handler), error);
        self.slot.reopen();
        let ended = transaction::run(|| {
            let Some(mut task) = claim::again(self, brief.id) else { return Transaction::Commit(Ok(None)) };
            task.uncounted = brief.uncounted;
            let end = process::conclude(self, &task, Err(failure.clone())).and_then(|end| {
                record::finish(self, &task, &end, Means::Any);
                self.close(Some((brief.clone(), end)))
            });
            match end {
                Ok(end) => Transaction::Commit(Ok(end)),
                Err(stop) => Transaction::RollBack(Err(stop)),
            }
        });
        match ended {
            Ok(Ok(ended)) => self.end(ended),
            Ok(Err(Stop::Cancelled)) => self.cancel(brief)?,
            // The error handler cannot be called either: end the task without it.
            Ok(Err(Stop::Repeat | Stop::Later(..))) | Err(_) => {
                if !self.slot.close() {
                    self.cancel(brief)?;
                    return Ok(true);
                }
                let end = process::End { succeeded: false, outcome: None, failures: vec![failure] };
                transaction::commit_after(|| {
                    if let Some(mut task) = claim::again(self, brief.id) {
                        task.uncounted = brief.uncounted;
                        record::finish(self, &task, &end, Means::Any);
                    }
                })?;
                self.end(Some((brief.clone(), end)));
            }
        }
        Ok(true)
    }

    /// Ends a task as cancelled; its transaction has been rolled back.
    fn cancel(&mut self, brief: &Brief) -> Result<(), PgError> {
        if let Err(error) = transaction::commit_after(|| record::cancel(self, brief)) {
            return self.leave_alone(brief, error);
        }
        log::event(LogLevel::Info, format!("task cancelled task_id={}", brief.id));
        self.slot.end(Over::Cancelled);
        Ok(())
    }

    /// The end of a task cannot be written; other tasks go on. If a trigger or a rule is the reason, the handler is not
    /// run again.
    fn leave_alone(&mut self, brief: &Brief, error: PgError) -> Result<(), PgError> {
        self.avoided.add(brief.id, avoid::LONGEST, self.slot.taken());
        if !error.is_unwritten() {
            return Err(error.of_task(brief.id));
        }
        if brief.is_given_up {
            transaction::commit_after(session::discard_leftovers)?;
        } else {
            let what = format!("{} {}", brief.task_type, brief.handler);
            let failure = process::left_alone(what.trim_end(), &error);
            transaction::commit_after(|| record::give_up(self, brief, &failure))?;
            record::log_failure(brief, &failure);
        }
        self.slot.end(Over::GivenBack);
        Ok(())
    }

    /// The task's provider takes no request now: it waits at its place, and all others of its lane behind it.
    fn put_off(&mut self, brief: &Brief, admission: Admission, terms: &Terms) -> Result<(), PgError> {
        if !self.slot.close() {
            return self.cancel(brief);
        }
        self.slot.shut(admission, terms, self.definition_changes);
        self.slot.end(Over::GivenBack);
        Ok(())
    }

    /// Leaves a task alone that must not be run again for a while, so that others run.
    fn put_aside(&mut self, task_id: i64, pause: i64) {
        let pause = Duration::from_micros(pause.max(0) as u64);
        self.avoided.hold(task_id, pause, self.slot.taken());
        self.slot.end(Over::GivenBack);
    }

    fn repeat(&mut self, brief: &Brief) -> Result<(), PgError> {
        if let Err(error) = transaction::commit_after(|| record::repeat(self, brief)) {
            return self.leave_alone(brief, error);
        }
        log::event(LogLevel::Info, format!("task repeated task_id={} attempt={}", brief.id, brief.attempt));
        self.slot.end(Over::GivenBack);
        Ok(())
    }

    /// From here on the task at hand cannot be cancelled any more.
    fn close<T>(&self, value: T) -> Result<T, Stop> {
        if self.slot.close() { Ok(value) } else { Err(Stop::Cancelled) }
    }

    /// The task at hand is over and committed.
    fn end(&mut self, ended: Option<(Brief, process::End)>) {
        self.signals = Some(self.slot.end(match &ended {
            Some((_, end)) if end.succeeded => Over::Succeeded,
            Some(_) => Over::Failed,
            None => Over::GivenBack,
        }));
        if let Some((brief, end)) = ended {
            record::log_end(&brief, &end);
        }
    }

    /// Waits for work, or finds that it is time to leave: then false.
    fn rest(&mut self, signals: &Signals) -> Result<bool, PgError> {
        self.show_calls();
        let report = self.report_statistics();
        let rest =
            if signals.look_ahead || signals.due { Some(wake::look_ahead(self, signals.at)?) } else { None };
        let repeat = self.calls.next_repeat().into_iter().chain(self.avoided.next()).chain(report).min();
        let limit = repeat.unwrap_or(Duration::MAX).min(self.time_to_leave());
        if wake::wait(self, signals.announced, rest, limit) {
            if self.time_to_leave().is_zero() && self.calls.len() == 0 && self.slot.leave() {
                inject::point("leaving");
                return Ok(false);
            }
            inject::point("woken");
            self.slot.unsettle();
        }
        Ok(true)
    }

    /// Waits for answers only, or for the settings to be known.
    fn wait_without_claiming(&self, limit: Duration) {
        wake::report_waiting(self);
        latch::wait(self.readable(), limit.min(self.calls.next_repeat().unwrap_or(Duration::MAX)));
        self.calls.clear();
    }

    /// How long this worker may still idle; no limit while it waits for answers, or leaves a task alone that
    /// only it knows of.
    fn time_to_leave(&self) -> Duration {
        let limit = config::MAX_IDLE_TIME.duration();
        let has_calls = self.calls.len() > 0 || self.calls.waits_for_orphans();
        if limit.is_zero() || has_calls || self.avoided.next().is_some() {
            return Duration::MAX;
        }
        limit.saturating_sub(self.idle_since.elapsed())
    }

    /// Reports statistics once in a while; when that is due, if there is something to report.
    fn report_statistics(&mut self) -> Option<Duration> {
        let left = STATISTICS_INTERVAL.saturating_sub(self.reported_at.elapsed());
        if left.is_zero() && self.unreported {
            activity::flush_statistics();
            self.reported_at = Instant::now();
            self.unreported = false;
        }
        self.unreported.then_some(left)
    }

    /// After an error in a statement of the worker's own.
    fn recover(&mut self, error: &PgError) {
        self.slot.end(Over::GivenBack);
        let _ = transaction::commit_after(session::discard_leftovers);
        self.faults.say(&format!("worker {}", self.slot.number), error);
        if error.is_missing_object() {
            interrupt::exit(1);
        }
        activity::idle();
        latch::wait(None, FAULT_PAUSE);
    }

    /// Runs a statement that changes which worker has a call, or which calls are sent together. Users' triggers and
    /// rules of the table must not change that, so they are not applied. Within a transaction that has locked the table.
    fn keep_books<R>(&self, statement: impl FnOnce() -> R) -> R {
        if self.call_rows.is_plain() { statement() } else { session::without_triggers(statement) }
    }

    /// Shows the calls in flight to others.
    fn show_calls(&mut self) {
        self.slot.set_in_flight(self.calls.tasks(), !self.calls.have_room());
        let (counts, mut ended, providers) = self.calls.take_counts();
        self.slot.set_calls(counts, &mut ended);
        for (ended, provider) in ended.iter().zip(providers) {
            if let Some(breaker) = ended.breaker {
                calls::log_breaker(&provider, breaker, ended.terms.breaker_threshold);
            }
        }
    }

    pub fn in_flight(&self) -> usize {
        self.calls.tasks()
    }

    /// From where it can take a task.
    pub fn sources(&self) -> Sources {
        self.calls.sources(self.lanes, self.waiting)
    }

    fn readable(&self) -> Option<std::os::fd::RawFd> {
        Some(self.calls.readable())
    }

    /// How often the last step of a task has been repeated.
    fn repeats(&self, task_id: i64) -> u32 {
        self.calls.repeats(task_id)
    }
}
