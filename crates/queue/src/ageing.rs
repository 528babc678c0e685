//! Ageing: the effective priority of a waiting task rises by one for each interval since it became due.
//!
//! Among tasks of a type the order does not depend on the time: each of them gains at the same rate. So a line keeps a
//! window and a cursor in this order, and only the first tasks of different lines are compared at a time.

use crate::lane::TYPE_LANES;
use crate::position::Position;

/// How often the priority of a type's waiting tasks rises by one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Ageing(i64);

/// The ageing of the task types that have lanes for themselves, by [`Lane::type_place`](crate::Lane::type_place).
pub type TypeAgeing = [Ageing; TYPE_LANES];

impl Ageing {
    pub const NONE: Ageing = Ageing(0);
    /// The longest interval, 366 days, in microseconds. With it no time of a task that is due exceeds the range.
    pub const MAX: i64 = 366 * 86_400_000_000;

    /// Ageing by one for each `interval`, in microseconds. There is none if the interval is not valid.
    pub fn every(interval: i64) -> Ageing {
        if (1..=Ageing::MAX).contains(&interval) { Ageing(interval) } else { Ageing::NONE }
    }

    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The interval in microseconds.
    pub fn interval(self) -> i64 {
        self.0
    }

    /// The position of a task in the order of its type: that of a task with a fixed priority that became due so much
    /// earlier, or later, that it has the same effective priority. Times without end stay what they are.
    pub fn place(self, task: Position) -> Position {
        if self.is_none() {
            return task;
        }
        let gained = i64::from(task.priority) * self.0;
        Position { priority: 1, scheduled_at: shift(task.scheduled_at, -gained), ..task }
    }

    /// The position of a task of this priority that has the place `place`.
    pub fn at_place(self, place: Position, priority: i16) -> Position {
        if self.is_none() {
            return Position { priority, ..place };
        }
        let gained = i64::from(priority) * self.0;
        Position { priority, scheduled_at: shift(place.scheduled_at, gained), ..place }
    }

    /// The place before which tasks come at `now` that have a higher effective priority than a task of any type at this
    /// effective position, or have reached the same one earlier.
    pub fn place_before(self, effective: Position, now: i64) -> Position {
        let same = self.place(effective);
        let higher = effective.priority.checked_add(1);
        let higher =
            higher.map(|priority| self.place(Position { priority, scheduled_at: now, task_id: i64::MAX }));
        higher.map_or(same, |higher| higher.max(same))
    }

    /// The position at `now` of a task among those of all types: its effective priority, and the time at which it reached
    /// that.
    pub fn effective(self, task: Position, now: i64) -> Position {
        let Position { priority, scheduled_at, .. } = task;
        if self.is_none() || priority == i16::MAX || scheduled_at >= now {
            return task;
        }
        let steps = now.saturating_sub(scheduled_at) / self.0;
        let gained = steps.min(i64::from(i16::MAX) - i64::from(priority));
        Position {
            // It is at most i16::MAX.
            priority: (i64::from(priority) + gained) as i16,
            scheduled_at: shift(scheduled_at, gained * self.0),
            ..task
        }
    }
}

/// A time of a task, moved by `by`. The two times without end do not move.
fn shift(time: i64, by: i64) -> i64 {
    if time == i64::MIN || time == i64::MAX { time } else { time.saturating_add(by).max(i64::MIN + 1) }
}

#[cfg(test)]
mod tests;
