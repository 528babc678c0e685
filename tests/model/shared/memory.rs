//! The shipped shared memory (`crates/queue`), with sizes that are small enough for a search.

use super::{Model, Task, Time};
use crate::broken::Broken;
use crate::check::fingerprint;
use pg_errand_queue::{
    Announcement, Candidate, Class, Database, DatabaseId, Interrupted, Journal, Lane, LaneSet, Latch, NEVER,
    Next, Over, Position, Read, ReadKeys, Rest, Slot, SlotState, Sweep,
};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// The number of worker processes.
pub const WORKERS: usize = 2;
/// The number of tasks in the window.
pub const WINDOW: usize = 2;
/// The number of prioritized tasks in their window.
pub const CALL_WINDOW: usize = 1;
const DATABASE: DatabaseId = DatabaseId::new(1);
/// The workers know the task definitions as of this change.
const DEFINITIONS: u64 = 0;

/// A latch that records whether it is set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flag(pub bool);

impl Latch for Flag {
    const NONE: Flag = Flag(false);

    fn set(&mut self) {
        self.0 = true;
    }
}

type Shared = pg_errand_queue::Shared<Flag, WORKERS, 1, WINDOW, CALL_WINDOW, 1>;
type Queue = pg_errand_queue::Queue<WINDOW, CALL_WINDOW>;

/// Shared memory and the journal, which are changed under the same lock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Memory {
    shared: Shared,
    journal: Journal<WORKERS, 2>,
}

/// Hashes only what decisions depend on in these models, which have no provider; hashing everything would be slow.
impl Hash for Memory {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let entry = self.entry();
        (entry.look, entry.needs_worker, entry.announced, entry.next_due, entry.due_unknown).hash(hasher);
        for slot in &self.shared.slots {
            (slot.state, slot.latch, slot.taken, slot.waits, slot.task_id, slot.busy_since).hash(hasher);
        }
        if let Some(queue) = self.queue() {
            for class in Class::ALL {
                queue.line(Lane::LOCAL, class).hash(hasher);
                queue.known(Lane::LOCAL, class).hash(hasher);
            }
            (queue.due_since(), queue.uses_keys()).hash(hasher);
            (queue.deferred_due, queue.sweep_by(), queue.swept_at).hash(hasher);
        }
        (self.shared.launcher, &self.journal).hash(hasher);
    }
}

/// The result of a read, with `all_due_at` if it contains all tasks that are due.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Found {
    pub class: Class,
    pub tasks: Vec<Task>,
    pub all_due_at: Option<Time>,
    pub is_unused: bool,
}

impl Found {
    fn read<'a>(&self, tasks: &'a [Candidate]) -> Read<'a> {
        let all_due_at = self.all_due_at.map(micros);
        Read { lane: Lane::LOCAL, class: self.class, tasks, all_due_at, is_unused: self.is_unused }
    }
}

pub fn micros(time: Time) -> i64 {
    i64::from(time) * 1_000_000
}

/// The time of the model; `None` means never.
fn time(micros: i64) -> Option<Time> {
    (micros != NEVER).then_some((micros / 1_000_000) as Time)
}

pub fn task_id(task: Task) -> i64 {
    task as i64 + 1
}

pub fn position(model: &Model, task: Task) -> Position {
    Position {
        scheduled_at: micros(model.tasks[task].at),
        task_id: task_id(task),
        priority: model.tasks[task].priority,
    }
}

/// The memory of a state, shared by many states that differ elsewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Common {
    memory: Arc<Memory>,
    fingerprint: u64,
}

impl Hash for Common {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.fingerprint.hash(hasher);
    }
}

thread_local! {
    static KNOWN: RefCell<HashMap<u64, Arc<Memory>>> = RefCell::new(HashMap::new());
}

impl Common {
    pub fn new(model: &Model) -> Common {
        KNOWN.with_borrow_mut(HashMap::clear);
        Common { memory: Arc::new(Memory::new(model)), fingerprint: 0 }
    }

    /// Reuses the equal memory that is known from a step from `last`.
    pub fn share(&mut self, model: &Model, last: &Common) {
        if Arc::ptr_eq(&self.memory, &last.memory) {
            return;
        }
        Arc::make_mut(&mut self.memory).normalize(model);
        self.fingerprint = fingerprint(&*self.memory);
        KNOWN.with_borrow_mut(|known| {
            self.memory = known.entry(self.fingerprint).or_insert_with(|| self.memory.clone()).clone();
        });
    }
}

impl Deref for Common {
    type Target = Memory;

    fn deref(&self) -> &Memory {
        &self.memory
    }
}

impl DerefMut for Common {
    fn deref_mut(&mut self) -> &mut Memory {
        Arc::make_mut(&mut self.memory)
    }
}

impl Memory {
    pub fn new(model: &Model) -> Memory {
        let mut shared = Shared::new(0);
        if let Some(database) = shared.database_or_new(DATABASE) {
            database.due_unknown = model.last > 0 && !model.is(Broken::DueForgottenAtStart);
        }
        Memory { shared, journal: Journal::EMPTY }
    }

    /// A crash: shared memory is new, and the journal is kept.
    pub fn crash(&mut self, model: &Model) {
        self.journal.recover(|_| true);
        self.shared = Memory::new(model).shared;
    }

    /// Clears what no decision depends on, to reduce the number of states.
    fn normalize(&mut self, model: &Model) {
        if !model.in_full {
            self.shared.launcher = Flag(false);
        }
        self.shared.next_owner = 0;
        for slot in &mut self.shared.slots {
            (slot.generation, slot.owner, slot.recent, slot.next_recent) = (0, 0, [0; _], 0);
            (slot.succeeded, slot.failed, slot.started_at) = (0, 0, 0);
            if slot.task_id == 0 {
                (slot.earlier, slot.busy_since, slot.cancelled_at) = (Interrupted::NONE, 0, 0);
            }
        }
        let database = self.entry_mut();
        (database.failures, database.failed_at, database.looked_at) = (0, 0, 0);
        // No task falls due in a model without time.
        database.due_unknown &= model.last > 0;
    }

    pub fn entry(&self) -> &Database {
        &self.shared.databases[0]
    }

    fn entry_mut(&mut self) -> &mut Database {
        &mut self.shared.databases[0]
    }

    pub fn slot(&self, id: usize) -> &Slot<Flag> {
        &self.shared.slots[id]
    }

    fn queue(&self) -> Option<&Queue> {
        self.shared.queue_of(DATABASE)
    }

    pub fn has_idle(&self) -> bool {
        self.shared.slots.iter().any(|slot| slot.state == SlotState::Idle)
    }

    pub fn shows(&self, task: Task) -> bool {
        self.shared.slots.iter().any(|slot| slot.task_id == task_id(task))
    }

    /// True if the slot of a worker shows the task as taken.
    pub fn has_taken(&self, task: Task) -> bool {
        let is_it =
            |slot: &Slot<Flag>| slot.taken.is_some_and(|(_, known)| known.position.task_id == task_id(task));
        self.shared.slots.iter().any(is_it)
    }

    /// True if the task is in the window or will be read without anything else happening.
    pub fn is_in_sight(&self, position: Position) -> bool {
        let Some(queue) = self.queue() else { return true };
        let class = position.class();
        let known = queue.known(Lane::LOCAL, class).iter().any(|known| known.position == position);
        let unread = queue.line(Lane::LOCAL, class).known != pg_errand_queue::Known::All;
        known || unread && self.is_after_cursor(position)
    }

    /// True if the next read that reaches the end will find the task.
    pub fn is_after_cursor(&self, position: Position) -> bool {
        let after = |queue: &Queue| {
            let line = queue.line(Lane::LOCAL, position.class());
            position > line.cursor.min(line.low)
        };
        self.queue().is_some_and(after)
    }

    /// True if the next read after a task has fallen due will find the task.
    pub fn will_be_looked_for(&self, position: Position) -> bool {
        let since = self.due_since().unwrap_or(NEVER);
        self.is_after_cursor(position)
            || position.class() == Class::Prioritized && position.scheduled_at > since
    }

    pub fn is_due(&self, now: Time) -> bool {
        self.entry().next_due <= micros(now)
    }

    pub fn next_due(&self) -> Option<Time> {
        time(self.entry().next_due)
    }

    pub fn wants_sweep(&self, now: Time, interval: i64) -> bool {
        self.queue().is_none_or(|queue| queue.wants_sweep(micros(now), interval))
    }

    pub fn begin_sweep(&mut self, now: Time, interval: i64) -> Option<Sweep> {
        self.shared.queue(DATABASE)?.begin_sweep(micros(now), interval)
    }

    pub fn ask_for_sweep(&mut self, now: Time) {
        if let Some(queue) = self.shared.queue(DATABASE) {
            queue.ask_for_sweep(micros(now));
        }
    }

    pub fn due_since(&self) -> Option<i64> {
        self.queue().and_then(|queue| queue.due_since())
    }

    pub fn note_looked_for(&mut self, since: i64, time: Time) {
        if let Some(queue) = self.shared.queue(DATABASE) {
            queue.note_looked_for(since, micros(time));
        }
    }

    /// A sweep may have found tasks that fall due unannounced.
    pub fn forget_due(&mut self) {
        self.entry_mut().due_unknown = true;
    }

    pub fn take(&mut self, model: &Model, id: usize, now: Time) -> Next {
        let before = self.snapshot(model);
        self.skip_reading(model);
        let next = self.take_used(model, id, now);
        if let Some(before) = before {
            self.break_take(model, id, &before, &next);
        }
        // A worker that waits for a reader looks again after a moment in any case.
        self.shared.slots[id].waits = false;
        if !model.polls
            && let Some(queue) = self.shared.queue(DATABASE)
        {
            // The first periodic sweep is not due yet.
            queue.swept_at = queue.swept_at.max(0);
        }
        next
    }

    /// Leaves out what is known of keys, of which there are none. It would multiply the states.
    pub fn forget_keys(&mut self) {
        self.shared.queue(DATABASE).into_iter().for_each(|queue| queue.forget_keys());
    }

    /// `Shared::take`. There are no keys. Without priorities in the model, reads of prioritized tasks end immediately.
    fn take_used(&mut self, model: &Model, id: usize, now: Time) -> Next {
        loop {
            let next = self.shared.take(id, LaneSet::LOCAL, DEFINITIONS, micros(now));
            if let Next::ReadKeys(lane, _) = next {
                let nothing = ReadKeys { entries: &[], end: None, now: 0, is_unused: true };
                self.shared.publish_keys(id, lane, &nothing, DEFINITIONS);
                continue;
            }
            let Next::Read(_, class @ Class::Prioritized, _) = next else { return next };
            if model.has_priorities() {
                return next;
            }
            let nothing = Found { class, tasks: Vec::new(), all_due_at: Some(now), is_unused: true };
            self.shared.publish(id, &nothing.read(&[]), DEFINITIONS);
        }
    }

    /// The memory before a step that is broken.
    fn snapshot(&self, model: &Model) -> Option<Memory> {
        model.broken.is_some().then(|| self.clone())
    }

    fn break_take(&mut self, model: &Model, id: usize, before: &Memory, next: &Next) {
        self.undo_skip_reading(model, before);
        if model.is(Broken::MoreWorkKept) {
            self.undo_wake(before);
        }
        if model.is(Broken::TakenForEver) && !matches!(next, Next::Task(..)) {
            self.shared.slots[id].taken = before.shared.slots[id].taken;
        }
    }

    /// Breaks the rule that a worker reads before it takes a known task.
    fn skip_reading(&mut self, model: &Model) {
        let Some(queue) = self.shared.queue(DATABASE) else { return };
        let known = queue.known(Lane::LOCAL, Class::Plain).len();
        let line = queue.line_mut(Lane::LOCAL, Class::Plain);
        let first = model.is(Broken::KnownOnesFirst) && known > 0;
        let last =
            model.is(Broken::UnreadKept) && known == 1 && line.known == pg_errand_queue::Known::Announced;
        if first || last {
            line.known = pg_errand_queue::Known::All;
        }
    }

    fn undo_skip_reading(&mut self, model: &Model, before: &Memory) {
        if (model.is(Broken::KnownOnesFirst) || model.is(Broken::UnreadKept))
            && let Some(old) = before.queue()
            && let Some(queue) = self.shared.queue(DATABASE)
            && !old.known(Lane::LOCAL, Class::Plain).is_empty()
        {
            queue.line_mut(Lane::LOCAL, Class::Plain).known = old.line(Lane::LOCAL, Class::Plain).known;
        }
    }

    /// Undoes all wake-ups since `before`.
    fn undo_wake(&mut self, before: &Memory) {
        for (slot, old) in self.shared.slots.iter_mut().zip(&before.shared.slots) {
            if old.state == SlotState::Idle {
                (slot.state, slot.latch) = (old.state, old.latch);
            }
        }
        self.shared.launcher = before.shared.launcher;
        self.entry_mut().needs_worker = before.entry().needs_worker;
    }

    pub fn publish(&mut self, model: &Model, id: usize, found: &Found) {
        let tasks = self.candidates(model, found);
        if let Some(queue) =
            self.shared.queue(DATABASE).filter(|_| model.is(Broken::AnnouncedDuringReadForgotten))
        {
            queue.line_mut(Lane::LOCAL, Class::Plain).low = Position::END;
        }
        self.shared.publish(id, &found.read(&tasks), DEFINITIONS);
    }

    pub fn add(&mut self, model: &Model, id: usize, found: &Found) {
        let tasks = self.candidates(model, found);
        let before = self.snapshot(model);
        self.shared.add(id, &found.read(&tasks), DEFINITIONS);
        self.keep_cursor(model, before.as_ref(), found);
    }

    pub fn sweep(&mut self, model: &Model, id: usize, found: &Found) {
        let tasks = self.candidates(model, found);
        let before = self.snapshot(model);
        self.shared.sweep(id, &found.read(&tasks), DEFINITIONS);
        self.keep_cursor(model, before.as_ref(), found);
    }

    /// Breaks the return of the cursor to a task for which the window had no room.
    fn keep_cursor(&mut self, model: &Model, before: Option<&Memory>, found: &Found) {
        if model.is(Broken::DroppedForGood)
            && found.all_due_at.is_some()
            && let Some(old) = before.and_then(Memory::queue)
            && let Some(queue) = self.shared.queue(DATABASE)
        {
            let (line, old_line) =
                (queue.line_mut(Lane::LOCAL, Class::Plain), old.line(Lane::LOCAL, Class::Plain));
            (line.known, line.cursor, line.low) = (old_line.known, old_line.cursor, old_line.low);
        }
    }

    fn candidates(&self, model: &Model, found: &Found) -> Vec<Candidate> {
        let taken_counts = model.is(Broken::TakenForEver) || model.is(Broken::TakenCounts);
        let left_out = |task: &&Task| taken_counts && self.has_taken(**task);
        let candidate = |task: &Task| Candidate { position: position(model, *task), address: None };
        found.tasks.iter().filter(|task| !left_out(task)).map(candidate).collect()
    }

    /// Shows a task as running; false if another worker's slot shows it.
    pub fn begin(&mut self, id: usize, task: Task, now: Time) -> bool {
        self.shared.begin(&mut self.journal, id, task_id(task), "", "", micros(now)).is_ok()
    }

    pub fn end(&mut self, id: usize) {
        self.journal.end(id);
        self.shared.slots[id].end(Over::Succeeded);
    }

    pub fn put_back(&mut self, id: usize) {
        self.shared.put_back(id);
    }

    /// `MySlot::end` of a task that has to run again.
    pub fn give_back(&mut self, id: usize) {
        self.journal.end(id);
        self.shared.put_back(id);
        self.shared.slots[id].end(Over::GivenBack);
    }

    pub fn forget_taken(&mut self, id: usize) {
        self.shared.slots[id].taken = None;
    }

    pub fn leave_to_other(&mut self, id: usize) {
        self.shared.leave_to_other(id);
    }

    /// Announces tasks one by one, or only the first of them.
    pub fn announce(&mut self, model: &Model, tasks: &[Task], few: bool, now: Time) {
        let before = self.snapshot(model);
        self.break_announcement(model);
        if few {
            self.announce_tasks::<1>(model, tasks, now);
        } else {
            self.announce_tasks::<0>(model, tasks, now);
        }
        before.iter().for_each(|before| self.mend_announcement(model, before));
    }

    fn announce_tasks<const FEW: usize>(&mut self, model: &Model, tasks: &[Task], now: Time) {
        let mut announcement = Announcement::<FEW>::NOTHING;
        tasks.iter().for_each(|task| announcement.task(Lane::LOCAL, position(model, *task)));
        announcement.prioritized &= !model.is(Broken::PrioritiesNotNoted);
        self.shared.announce(DATABASE, &announcement, micros(now));
    }

    fn break_announcement(&mut self, model: &Model) {
        if model.is(Broken::BusyWorkerWoken) && !self.has_idle() {
            let busy = self.shared.slots.iter_mut().find(|slot| slot.state == SlotState::Working);
            busy.into_iter().for_each(|slot| slot.state = SlotState::Idle);
        }
        if model.is(Broken::CursorPassesDue) {
            let entry = self.entry_mut();
            entry.due_unknown = false;
            entry.next_due = NEVER;
        }
        if model.is(Broken::HandedOverAmongUnknown)
            && let Some(queue) = self.shared.queue(DATABASE)
        {
            let line = queue.line_mut(Lane::LOCAL, Class::Plain);
            (line.known, line.reader) = (pg_errand_queue::Known::All, pg_errand_queue::NOBODY);
        }
    }

    fn mend_announcement(&mut self, model: &Model, before: &Memory) {
        if model.is(Broken::CursorPassesDue) {
            let old = before.entry();
            let entry = self.entry_mut();
            (entry.due_unknown, entry.next_due) =
                (entry.due_unknown | old.due_unknown, entry.next_due.min(old.next_due));
        }
        if model.is(Broken::HandedOverAmongUnknown)
            && let Some(old) = before.queue()
            && let Some(queue) = self.shared.queue(DATABASE)
        {
            let line = queue.line_mut(Lane::LOCAL, Class::Plain);
            (line.known, line.reader) =
                (old.line(Lane::LOCAL, Class::Plain).known, old.line(Lane::LOCAL, Class::Plain).reader);
        }
    }

    /// Announces that a deferred task becomes ready at `until`.
    pub fn announce_deferred(&mut self, until: Time, now: Time) {
        let mut announcement: Announcement = Announcement::NOTHING;
        announcement.due(micros(until));
        self.shared.announce(DATABASE, &announcement, micros(now));
    }

    pub fn see_to_due(&mut self, model: &Model, now: Time) {
        self.falling_due(model, |shared| shared.see_to_due(DATABASE, micros(now)));
    }

    pub fn wake_for_due(&mut self, model: &Model, now: Time) {
        self.falling_due(model, |shared| shared.wake_for_due(DATABASE, micros(now)));
    }

    pub fn wake_up(&mut self, model: &Model, id: usize, now: Time) {
        self.shared.slots[id].latch = Flag(false);
        self.falling_due(model, |shared| shared.wake_up(id, micros(now)));
    }

    /// A step in which a task may fall due, and which can be broken.
    fn falling_due(&mut self, model: &Model, step: impl FnOnce(&mut Shared)) {
        let before = self.snapshot(model);
        step(&mut self.shared);
        if let Some(queue) = self.shared.queue(DATABASE)
            && let Some(old) = before.as_ref().and_then(Memory::queue)
        {
            let (line, old_line) =
                (queue.line_mut(Lane::LOCAL, Class::Plain), old.line(Lane::LOCAL, Class::Plain));
            let is_read = old_line.reader != pg_errand_queue::NOBODY;
            if model.is(Broken::DueKeepsAllKnown) || model.is(Broken::DueDuringReadForgotten) && is_read {
                (line.known, line.cursor, line.low) = (old_line.known, old_line.cursor, old_line.low);
            }
            if model.is(Broken::DuePrioritizedAfterCursor) {
                queue.due_since().into_iter().for_each(|since| queue.note_looked_for(since, NEVER));
            }
            if model.is(Broken::HeldNotLookedFor) {
                queue.deferred_due = false;
            }
        }
    }

    pub fn note_due(&mut self, due: Option<Time>) {
        self.shared.note_due(DATABASE, due.map_or(NEVER, micros));
    }

    /// Lets a worker go idle until the time that this returns; `None` if it has to look again.
    pub fn go_idle(
        &mut self,
        id: usize,
        announced: u64,
        rest: Option<Option<Time>>,
        now: Time,
    ) -> Option<Option<Time>> {
        let rest = rest.map(|due| Rest { next_due: due.map_or(NEVER, micros), nothing_prepared: true });
        self.shared.go_idle(id, announced, rest, micros(now)).map(time)
    }

    /// True if the worker may exit, since it has not been woken.
    pub fn leave(&mut self, id: usize) -> bool {
        self.shared.leave(id)
    }

    pub fn force_to_leave(&mut self, id: usize) {
        self.shared.slots[id].state = SlotState::Leaving;
    }

    pub fn clear_latch(&mut self, id: usize) {
        self.shared.slots[id].latch = Flag(false);
    }

    pub fn take_launcher_latch(&mut self) {
        self.shared.launcher = Flag(false);
    }

    pub fn launcher_is_set(&self) -> bool {
        self.shared.launcher.0
    }

    /// `start::start`: a slot for a new process.
    pub fn allocate(&mut self) -> Option<usize> {
        self.shared.allocate(DATABASE, 0, 0)
    }

    pub fn expect_worker(&mut self, model: &Model, now: Time) {
        self.falling_due(model, |shared| shared.expect_worker(DATABASE, micros(now)));
    }

    /// `MySlot::attach`.
    pub fn attach(&mut self, id: usize) {
        self.shared.slots[id].state = SlotState::Working;
        if self.entry().needs_worker {
            self.shared.launcher.set();
        }
    }

    pub fn detach(&mut self, model: &Model, id: usize, now: Time) {
        let before = self.snapshot(model);
        if model.is(Broken::TakenDiesWithWorker) {
            self.shared.slots[id].taken = None;
        }
        self.shared.detach(&mut self.journal, id, micros(now));
        if let Some(before) = before {
            self.break_detach(model, id, &before);
        }
    }

    fn break_detach(&mut self, model: &Model, id: usize, before: &Memory) {
        if model.is(Broken::DeathNotPassedOn) {
            let gone = self.shared.slots[id];
            self.undo_wake(before);
            self.shared.slots[id] = gone;
            self.entry_mut().look = before.entry().look;
            self.shared.launcher = Flag(true);
        }
        if model.is(Broken::DeadReaderStays)
            && let Some(old) = before.queue()
            && let Some(queue) = self.shared.queue(DATABASE)
        {
            queue.line_mut(Lane::LOCAL, Class::Plain).reader = old.line(Lane::LOCAL, Class::Plain).reader;
        }
    }
}
