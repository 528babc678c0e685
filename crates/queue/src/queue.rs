//! The head of a database's queue: the tasks that are handed out next, in order, and how far the
//! table has been read for them.
//!
//! All of it is a hint. Whoever takes a task from here still has to lock its row; a task that is not
//! found here is found by the next sweep, which reads the table from its very start.

use super::{Address, DatabaseId, NEVER};

/// Tasks known ahead in the local lane.
pub const WINDOW: usize = 64;
/// Tasks known ahead in the lane of a provider.
pub const CALL_WINDOW: usize = 8;

/// A sweep that was asked for waits so long for tasks that are known, in microseconds.
const SWEEP_PATIENCE: i64 = 10_000;

/// Where a task waits: with those that every worker can take, or with those of a provider.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Lane(u8);

/// So many lanes there are.
pub const LANES: usize = 16;

impl Lane {
    pub const LOCAL: Lane = Lane(0);
    /// That of the providers that have none of their own.
    pub const LAST: Lane = Lane(LANES as u8 - 1);

    /// A provider's lane, from 1 on.
    pub fn call(number: i16) -> Lane {
        u8::try_from(number).ok().filter(|n| (1..LANES as u8).contains(n)).map_or(Lane::LAST, Lane)
    }

    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Some of the lanes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LaneSet(u16);

impl LaneSet {
    pub const NONE: LaneSet = LaneSet(0);
    pub const LOCAL: LaneSet = LaneSet(1);
    pub const ALL: LaneSet = LaneSet(u16::MAX);

    pub fn with(self, lane: Lane) -> LaneSet {
        LaneSet(self.0 | 1 << lane.0)
    }

    pub fn and(self, others: LaneSet) -> LaneSet {
        LaneSet(self.0 | others.0)
    }

    pub fn common(self, others: LaneSet) -> LaneSet {
        LaneSet(self.0 & others.0)
    }

    pub fn without(self, lane: Lane) -> LaneSet {
        LaneSet(self.0 & !(1 << lane.0))
    }

    pub fn holds(self, lane: Lane) -> bool {
        self.0 & 1 << lane.0 != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Lane> {
        (0..LANES as u8).map(Lane).filter(move |lane| self.holds(*lane))
    }
}

/// From where a worker takes tasks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Sources {
    pub lanes: LaneSet,
    /// Also while they are shut: what is taken goes out with what has been let pass.
    pub shut_too: LaneSet,
}

impl From<LaneSet> for Sources {
    fn from(lanes: LaneSet) -> Sources {
        Sources { lanes, shut_too: LaneSet::NONE }
    }
}

/// A task's place in the order of the queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position {
    /// Microseconds since 2000-01-01.
    pub scheduled_at: i64,
    pub task_id: i64,
}

impl Position {
    pub const START: Position = Position { scheduled_at: i64::MIN, task_id: i64::MIN };
    pub const END: Position = Position { scheduled_at: i64::MAX, task_id: i64::MAX };

    /// Every task that is due at `time` is before it.
    pub fn after_all_due(time: i64) -> Position {
        Position { scheduled_at: time, task_id: i64::MAX }
    }

    /// The place right before this one.
    fn before(self) -> Position {
        Position { task_id: self.task_id.saturating_sub(1), ..self }
    }
}

/// A task that is handed out next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ready {
    pub place: Position,
    /// Where its row is, if it was read.
    pub address: Option<Address>,
}

impl Ready {
    const NONE: Ready = Ready { place: Position::END, address: None };
}

/// What a worker that looks for work finds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Next {
    Task(Lane, Ready),
    /// It has to read what comes after a position, and say what it found ([`Queue::publish`]).
    Read(Lane, Position),
    /// Another worker is reading.
    Wait,
    Nothing,
}

/// How far a worker looks for tasks that were not announced.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sweep {
    /// Those that were held back until now.
    Held,
    All,
}

/// What a worker has read.
pub struct Batch<'a> {
    pub lane: Lane,
    /// In order.
    pub tasks: &'a [Ready],
    /// The time up to which everything was read, if that was all; microseconds since 2000-01-01.
    pub all_due_at: Option<i64>,
}

/// What is known of the tasks after the cursor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Known {
    /// There are none.
    All,
    /// Some were announced.
    Announced,
    /// The last read has found as many as it asked for.
    Part,
}

/// Reader of a lane: nobody.
const NOBODY: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Line {
    /// Where to read on. What is ready and before it has been handed out, or was announced as `low`.
    cursor: Position,
    /// Announced while somebody reads: the place before the first such task.
    low: Position,
    /// The slot of the worker that reads.
    reader: u32,
    known: Known,
    len: usize,
    /// Its provider takes no request before this time; microseconds since 2000-01-01.
    opens_at: i64,
    /// `NEVER`: before a call of this account has ended. 0: none.
    account: u64,
}

/// A lane, and the tasks known ahead, the next one last.
struct Window<'a> {
    line: &'a mut Line,
    tasks: &'a mut [Ready],
}

impl Line {
    const NEW: Line = Line {
        cursor: Position::START,
        low: Position::END,
        reader: NOBODY,
        known: Known::Part,
        len: 0,
        opens_at: i64::MIN,
        account: 0,
    };

    /// There may be tasks after the cursor, and nobody is reading.
    fn is_unread(&self) -> bool {
        self.known != Known::All && self.reader == NOBODY
    }

    /// Has everything after `position` read again.
    fn rewind(&mut self, position: Position) {
        if self.known == Known::All {
            self.known = Known::Announced;
        }
        if self.reader == NOBODY {
            self.cursor = self.cursor.min(position);
        } else {
            self.low = self.low.min(position);
        }
    }

    fn stop_reading(&mut self) {
        self.reader = NOBODY;
        self.cursor = self.cursor.min(self.low);
        self.low = Position::END;
    }
}

impl Window<'_> {
    fn next(&self) -> Option<Position> {
        self.line.len.checked_sub(1).map(|last| self.tasks[last].place)
    }

    /// Takes the first task whose page nobody is working on; or just the first one.
    fn take(&mut self, occupied: impl Fn(u32) -> bool) -> Option<Ready> {
        let known = &self.tasks[..self.line.len];
        let place =
            known.iter().rposition(|task| !task.address.is_some_and(|address| occupied(address.page)));
        let place = place.or(self.line.len.checked_sub(1))?;
        let task = self.tasks[place];
        self.tasks.copy_within(place + 1..self.line.len, place);
        self.line.len -= 1;
        Some(task)
    }

    /// More is to be read before the next task is taken: few are known, or one that comes before a
    /// known one is not.
    fn wants_reading(&self) -> bool {
        // With so few left, more are read while other workers take those.
        let enough = if self.line.known == Known::Part { self.tasks.len() * 3 / 8 } else { 0 };
        self.line.known != Known::All && (self.line.len <= enough || self.line.cursor < self.tasks[0].place)
    }

    /// Adds a task, in place of the last one if there is no room; that is read again.
    fn insert(&mut self, task: Ready) {
        let known = &self.tasks[..self.line.len];
        let place = match known.binary_search_by(|known| task.place.cmp(&known.place)) {
            Ok(_) => return,
            Err(place) => place,
        };
        if self.line.len == self.tasks.len() {
            let dropped = if place == 0 { task } else { self.tasks[0] };
            self.line.rewind(dropped.place.before());
            if place > 0 {
                self.tasks.copy_within(1..place, 0);
                self.tasks[place - 1] = task;
            }
        } else {
            self.tasks.copy_within(place..self.line.len, place + 1);
            self.tasks[place] = task;
            self.line.len += 1;
        }
    }

    /// A task was enqueued that is due. If all others are known, it need not be read. `passes`: nothing that is
    /// due comes before it and is not known.
    fn hand_over(&mut self, task: Position, passes: bool) {
        if self.line.known == Known::All && self.line.reader == NOBODY && self.line.len < self.tasks.len() {
            self.insert(Ready { place: task, address: None });
            if passes {
                self.line.cursor = self.line.cursor.max(task);
            }
        } else {
            self.line.rewind(task.before());
        }
    }
}

/// The head of a database's queue.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Queue<const WINDOW: usize = 64, const CALL_WINDOW: usize = 8> {
    /// [`DatabaseId::NONE`]: it is nobody's.
    pub database: DatabaseId,
    lines: [Line; LANES],
    local: [Ready; WINDOW],
    calls: [[Ready; CALL_WINDOW]; LANES - 1],
    /// Tasks that were held back until some time may be ready now.
    pub held_due: bool,
    /// Something may be ready that was not announced: the table is to be read from its start, by this time.
    sweep_by: i64,
    /// When that was done last, and not before which time it is done again; microseconds since 2000-01-01.
    pub swept_at: i64,
    pub no_sweep_before: i64,
}

impl<const WINDOW: usize, const CALL_WINDOW: usize> Queue<WINDOW, CALL_WINDOW> {
    /// Of a database whose workers have not read anything yet.
    pub fn new(database: DatabaseId) -> Self {
        Queue { database, ..Self::FREE }
    }

    /// Tasks known ahead at most in a lane.
    pub fn window(lane: Lane) -> usize {
        if lane == Lane::LOCAL { WINDOW } else { CALL_WINDOW }
    }

    pub const FREE: Self = Queue {
        database: DatabaseId::NONE,
        lines: [Line::NEW; LANES],
        local: [Ready::NONE; WINDOW],
        calls: [[Ready::NONE; CALL_WINDOW]; LANES - 1],
        held_due: false,
        sweep_by: NEVER,
        swept_at: i64::MIN,
        no_sweep_before: i64::MIN,
    };

    fn lane(&mut self, lane: Lane) -> Window<'_> {
        let tasks = match lane.index() {
            0 => &mut self.local[..],
            call => &mut self.calls[call - 1][..],
        };
        Window { line: &mut self.lines[lane.index()], tasks }
    }

    /// The next task for the worker of `slot`, which then is out of the window; or what to do first.
    /// `sources`: from where it can take one, if they are open at `now`. `occupied`: pages on which another worker
    /// is busy, and won't be for long: rather than wait for each other at every row, workers keep apart.
    pub fn take(&mut self, slot: usize, sources: Sources, now: i64, occupied: impl Fn(u32) -> bool) -> Next {
        let mut reading = false;
        let mut first: Option<(Position, Lane)> = None;
        for lane in sources.lanes.iter() {
            if self.lines[lane.index()].opens_at > now && !sources.shut_too.holds(lane) {
                continue;
            }
            let window = self.lane(lane);
            if window.wants_reading() {
                if window.line.reader == NOBODY {
                    window.line.reader = slot as u32;
                    return Next::Read(lane, window.line.cursor);
                }
                reading = true;
            }
            if let Some(next) = window.next()
                && first.is_none_or(|(known, _)| next < known)
            {
                first = Some((next, lane));
            }
        }
        match first.and_then(|(_, lane)| Some((lane, self.lane(lane).take(occupied)?))) {
            Some((lane, task)) => Next::Task(lane, task),
            None if reading => Next::Wait,
            None => Next::Nothing,
        }
    }

    /// Whether a worker that can take from `lanes` would find more tasks, or something to read.
    pub fn has_more(&self, lanes: LaneSet, now: i64) -> bool {
        let lines = lanes.iter().map(|lane| &self.lines[lane.index()]).filter(|line| line.opens_at <= now);
        lines.into_iter().any(|line| line.len > 0 || line.is_unread())
    }

    fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.len == 0)
    }

    /// No task of a lane is handed out before `opens_at`, or before `account` (0: none) can take one again.
    pub fn shut(&mut self, lane: Lane, opens_at: i64, account: u64) {
        let line = &mut self.lines[lane.index()];
        (line.opens_at, line.account) = (opens_at, account);
    }

    /// A call of `account` has ended; true if a lane waits for that.
    /// `resumed`: the provider takes requests again.
    pub fn open(&mut self, account: u64, resumed: bool) -> bool {
        let mut any = false;
        let is_it = |line: &&mut Line| line.account == account && (resumed || line.opens_at == NEVER);
        for line in self.lines.iter_mut().filter(is_it) {
            (line.opens_at, line.account) = (i64::MIN, 0);
            any = true;
        }
        any
    }

    /// The lanes in which tasks are known to wait.
    pub fn waiting(&self) -> LaneSet {
        let waits = |lane: &Lane| self.lines[lane.index()].len > 0;
        LaneSet::ALL.iter().filter(waits).fold(LaneSet::NONE, LaneSet::with)
    }

    /// When the next lane opens in which something may wait.
    pub fn opens_at(&self, now: i64) -> i64 {
        let shut = self.lines.iter().filter(|line| line.opens_at > now && (line.len > 0 || line.is_unread()));
        shut.map(|line| line.opens_at).min().unwrap_or(NEVER)
    }

    /// Takes in what the reader of a lane has found. `running`: true for tasks that somebody has.
    pub fn publish(&mut self, batch: &Batch, running: impl Fn(i64) -> bool) {
        let mut window = self.lane(batch.lane);
        let line = &mut *window.line;
        line.known = match batch.all_due_at {
            None => Known::Part,
            Some(_) if line.low == Position::END => Known::All,
            Some(_) => Known::Announced,
        };
        let end = match batch.all_due_at {
            Some(time) => Position::after_all_due(time),
            None => batch.tasks.last().map_or(line.cursor, |task| task.place),
        };
        line.cursor = line.cursor.max(end);
        line.stop_reading();
        let new = batch.tasks.iter().filter(|task| !running(task.place.task_id));
        new.for_each(|task| window.insert(*task));
    }

    /// Takes in what was found from the start of the table. If that is all, and nothing was announced that is
    /// not known, what is read next comes after it.
    pub fn sweep(&mut self, batch: &Batch, running: impl Fn(i64) -> bool) {
        self.add(batch, running);
        let line = &mut self.lines[batch.lane.index()];
        if let Some(time) = batch.all_due_at.filter(|_| line.known == Known::All && line.reader == NOBODY) {
            line.cursor = line.cursor.max(Position::after_all_due(time));
        }
    }

    /// Takes in what was found beside the order of the queue.
    pub fn add(&mut self, batch: &Batch, running: impl Fn(i64) -> bool) {
        let mut window = self.lane(batch.lane);
        let new = batch.tasks.iter().filter(|task| !running(task.place.task_id));
        new.for_each(|task| window.insert(*task));
        if batch.all_due_at.is_none()
            && let Some(last) = batch.tasks.last()
        {
            window.line.rewind(last.place);
        }
    }

    /// What is to be looked for at `now`, by whoever asks. `interval`: how often all of it is, unless somebody
    /// asked for it; in microseconds.
    pub fn begin_sweep(&mut self, now: i64, interval: i64) -> Option<Sweep> {
        if !self.wants_sweep(now, interval) {
            return None;
        }
        self.held_due = false;
        if self.sweep_by == NEVER && !self.is_swept_late(now, interval) {
            return Some(Sweep::Held);
        }
        self.sweep_by = NEVER;
        self.swept_at = now;
        Some(Sweep::All)
    }

    pub fn wants_sweep(&self, now: i64, interval: i64) -> bool {
        let asked = self.sweep_by <= now || self.sweep_by != NEVER && self.is_empty();
        self.held_due || asked || self.is_swept_late(now, interval)
    }

    /// Has somebody look for what was not announced; what is known goes first, for a while.
    pub fn ask_for_sweep(&mut self, now: i64) {
        self.sweep_by = self.sweep_by.min(now + SWEEP_PATIENCE);
    }

    fn is_swept_late(&self, now: i64, interval: i64) -> bool {
        self.swept_at.saturating_add(interval) <= now && self.no_sweep_before <= now
    }

    /// The worker of `slot` won't say what it found.
    pub fn stop_reading(&mut self, slot: usize) {
        self.lines.iter_mut().filter(|line| line.reader == slot as u32).for_each(Line::stop_reading);
    }

    /// A single task was enqueued. `all_due_known`: nothing has fallen due that nobody has looked for yet.
    pub fn hand_over(&mut self, lane: Lane, task: Position, all_due_known: bool) {
        self.lane(lane).hand_over(task, all_due_known);
    }

    /// A task is to be handed out again.
    pub fn hand_back(&mut self, lane: Lane, task: Position) {
        self.lane(lane).hand_over(task, false);
    }

    /// Tasks were enqueued, the first of them at this place and due now.
    pub fn rewind(&mut self, lane: Lane, first: Position) {
        self.lines[lane.index()].rewind(first.before());
    }

    /// Something has fallen due. It is after the cursor; but a reader may have begun before that time.
    pub fn note_due(&mut self) {
        self.held_due = true;
        self.lines.iter_mut().for_each(|line| line.rewind(Position::END.before()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAILS: Lane = Lane(1);

    fn lanes(with_calls: bool) -> LaneSet {
        if with_calls { LaneSet::LOCAL.with(MAILS) } else { LaneSet::LOCAL }
    }

    fn at(task_id: i64) -> Position {
        Position { scheduled_at: task_id * 10, task_id }
    }

    fn ready(id: i64) -> Ready {
        Ready { place: at(id), address: Some(Address { page: id as u32 / 10, line: 1 }) }
    }

    fn found(ids: &[i64]) -> Vec<Ready> {
        ids.iter().map(|id| ready(*id)).collect()
    }

    fn take(queue: &mut Queue, slot: usize, with_calls: bool) -> Next {
        queue.take(slot, lanes(with_calls).into(), 0, |_| false)
    }

    fn publish(queue: &mut Queue, ids: &[i64], all_due_at: Option<i64>) {
        queue.publish(&Batch { lane: Lane::LOCAL, tasks: &found(ids), all_due_at }, |_| false);
    }

    fn read(queue: &mut Queue) -> Position {
        match take(queue, 1, false) {
            Next::Read(Lane::LOCAL, after) => after,
            other => panic!("{other:?}"),
        }
    }

    fn all(queue: &mut Queue) -> Vec<i64> {
        std::iter::from_fn(|| match take(queue, 1, false) {
            Next::Task(_, task) => Some(task.place.task_id),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn tasks_come_in_order_and_are_read_once() {
        let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
        assert_eq!(read(&mut queue), Position::START);
        publish(&mut queue, &[1, 2, 3], Some(35));
        assert_eq!(all(&mut queue), [1, 2, 3]);
        assert_eq!(take(&mut queue, 1, false), Next::Nothing);
        assert_eq!(queue.lines[0].cursor, Position::after_all_due(35));
    }

    #[test]
    fn one_worker_reads_at_a_time_and_others_take_what_is_known() {
        let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
        read(&mut queue);
        assert_eq!(take(&mut queue, 2, false), Next::Wait);
        publish(&mut queue, &(1..=WINDOW as i64).collect::<Vec<_>>(), None);
        for id in 1..=(WINDOW - WINDOW * 3 / 8) as i64 {
            assert_eq!(take(&mut queue, 2, false), Next::Task(Lane::LOCAL, ready(id)));
        }
        assert_eq!(read(&mut queue), at(WINDOW as i64));
        assert!(matches!(take(&mut queue, 2, false), Next::Task(..)));
    }

    #[test]
    fn what_is_announced_during_a_read_is_read_again() {
        let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
        read(&mut queue);
        queue.rewind(Lane::LOCAL, at(2));
        publish(&mut queue, &[1, 3], Some(35));
        assert_eq!(read(&mut queue), at(2).before());
        publish(&mut queue, &[2, 3], Some(36));
        assert_eq!(all(&mut queue), [1, 2, 3]);
    }

    #[test]
    fn a_reader_that_dies_loses_nothing() {
        let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
        read(&mut queue);
        queue.stop_reading(0);
        assert_eq!(take(&mut queue, 2, false), Next::Wait);
        queue.stop_reading(1);
        assert_eq!(read(&mut queue), Position::START);
    }

    #[test]
    fn a_task_is_handed_over_without_reading_if_all_others_are_known() {
        let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
        queue.hand_over(Lane::LOCAL, at(5), true);
        assert_eq!(read(&mut queue), Position::START);
        publish(&mut queue, &[5], Some(55));
        queue.hand_over(Lane::LOCAL, at(7), true);
        queue.hand_over(Lane::LOCAL, at(6), true);
        assert_eq!(all(&mut queue), [5, 6, 7]);
        assert_eq!(take(&mut queue, 1, false), Next::Nothing);
        assert_eq!(queue.lines[0].cursor, at(7));
    }

    #[test]
    fn what_has_fallen_due_comes_before_what_is_handed_over() {
        let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
        read(&mut queue);
        publish(&mut queue, &[], Some(55));
        // Task 6 has fallen due, and nobody has looked yet.
        queue.hand_over(Lane::LOCAL, at(7), false);
        queue.note_due();
        assert_eq!(read(&mut queue), Position::after_all_due(55));
        publish(&mut queue, &[6, 7], Some(75));
        assert_eq!(all(&mut queue), [6, 7]);
    }

    #[test]
    fn what_falls_due_during_a_read_is_read_after_it() {
        let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
        read(&mut queue);
        queue.note_due();
        publish(&mut queue, &[5], Some(55));
        assert_eq!(take(&mut queue, 1, false), Next::Task(Lane::LOCAL, ready(5)));
        assert_eq!(read(&mut queue), Position::after_all_due(55));
        publish(&mut queue, &[6], Some(65));
        assert_eq!(all(&mut queue), [6]);
    }

    #[test]
    fn an_earlier_task_comes_first_though_others_are_known() {
        let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
        read(&mut queue);
        publish(&mut queue, &(10..10 + WINDOW as i64).collect::<Vec<_>>(), None);
        queue.rewind(Lane::LOCAL, at(1));
        assert_eq!(read(&mut queue), at(1).before());
        publish(&mut queue, &[1, 10, 11], None);
        assert_eq!(take(&mut queue, 1, false), Next::Read(Lane::LOCAL, at(11)));
        let rest: Vec<i64> = (12..10 + WINDOW as i64).collect();
        publish(&mut queue, &rest, Some(100_000));
        let last = 9 + WINDOW as i64;
        assert_eq!(all(&mut queue), [vec![1], (10..last).collect()].concat());
        // The window had no room for the last one.
        assert_eq!(queue.lines[0].cursor, at(last).before());
    }

    #[test]
    fn tasks_that_somebody_has_are_not_handed_out_again() {
        let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
        read(&mut queue);
        queue.publish(&Batch { lane: Lane::LOCAL, tasks: &found(&[1, 2]), all_due_at: Some(30) }, |id| {
            id == 1
        });
        assert_eq!(all(&mut queue), [2]);
    }

    #[test]
    fn workers_keep_apart_while_there_is_room() {
        let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
        read(&mut queue);
        publish(&mut queue, &[8, 9, 10, 11], Some(300));
        let mut other = |occupied: u32| match queue.take(1, LaneSet::LOCAL.into(), 0, |page| page == occupied)
        {
            Next::Task(_, task) => task.place.task_id,
            next => panic!("{next:?}"),
        };
        assert_eq!([other(0), other(0), other(0), other(7)], [10, 11, 8, 9]);
    }

    #[test]
    fn calls_wait_for_room() {
        let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
        read(&mut queue);
        publish(&mut queue, &[2], Some(35));
        assert_eq!(take(&mut queue, 1, true), Next::Read(MAILS, Position::START));
        queue.publish(&Batch { lane: MAILS, tasks: &found(&[1]), all_due_at: Some(35) }, |_| false);
        assert_eq!(take(&mut queue, 1, false), Next::Task(Lane::LOCAL, ready(2)));
        assert!(!queue.has_more(lanes(false), 0) && queue.has_more(lanes(true), 0));
        assert_eq!(take(&mut queue, 1, true), Next::Task(MAILS, ready(1)));
    }

    #[test]
    fn a_sweep_brings_what_nobody_announced() {
        let mut queue = Queue::<WINDOW, CALL_WINDOW>::FREE;
        read(&mut queue);
        publish(&mut queue, &[5], Some(55));
        queue.add(&Batch { lane: Lane::LOCAL, tasks: &found(&[1, 2]), all_due_at: None }, |_| false);
        assert_eq!(read(&mut queue), at(2));
        publish(&mut queue, &[3, 5], Some(55));
        assert_eq!(all(&mut queue), [1, 2, 3, 5]);
    }
}
