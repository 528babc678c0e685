//! The last tasks that ended.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};

/// The number of tasks that are remembered.
pub const KEPT: usize = 32;

/// The numbers of the last tasks, in a ring.
pub struct Recent {
    tasks: [AtomicI64; KEPT],
    next: AtomicU32,
}

impl Recent {
    #[cfg(test)]
    pub const fn empty() -> Recent {
        Recent { tasks: [const { AtomicI64::new(0) }; KEPT], next: AtomicU32::new(0) }
    }

    pub fn add(&self, task_id: i64) {
        let place = self.next.fetch_add(1, Relaxed) as usize % KEPT;
        self.tasks[place].store(task_id, Relaxed);
    }

    /// The tasks, the last one first.
    pub fn list(&self) -> Vec<i64> {
        let next = self.next.load(Relaxed);
        let back = |n: usize| self.tasks[next.wrapping_sub(1 + n as u32) as usize % KEPT].load(Relaxed);
        (0..KEPT).map(back).filter(|task_id| *task_id != 0).collect()
    }

    pub fn clear(&self) {
        self.tasks.iter().for_each(|task| task.store(0, Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tasks_are_listed_first() {
        let recent = Recent { next: AtomicU32::new(u32::MAX - 9), ..Recent::empty() };
        assert!(recent.list().is_empty());
        (1..=3).for_each(|task| recent.add(task));
        assert_eq!(recent.list(), [3, 2, 1]);
        (4..=40).for_each(|task| recent.add(task));
        assert_eq!(recent.list(), (9..=40).rev().collect::<Vec<_>>());
        recent.clear();
        assert!(recent.list().is_empty());
    }
}
