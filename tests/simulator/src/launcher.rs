//! The launcher, for one database.

use crate::worker::{Hand, Worker};
use crate::world::{DATABASE, Flag, SLOTS, World};
use pg_errand_queue::{NEVER, Service, SlotState};

/// The pause between two attempts to start a worker, in microseconds.
pub const RETRY: i64 = 1_000_000;

pub struct Launcher {
    /// The time of the next cycle if the latch is not set before.
    pub until: i64,
}

impl Launcher {
    /// After a start of the server, the first cycle is immediate.
    pub fn new() -> Launcher {
        Launcher { until: i64::MIN }
    }
}

impl<const W: usize, const C: usize> World<W, C> {
    pub fn launcher_has_cause(&self) -> bool {
        self.shared.launcher.0 || self.launcher.until <= self.now
    }

    /// `Launcher::cycle`.
    pub fn step_launcher(&mut self) {
        if !self.launcher_has_cause() {
            return;
        }
        self.shared.launcher = Flag(false);
        self.give_up_lost_starts();
        let now = self.now;
        let has_idle = self.shared.slots_of(DATABASE).any(|slot| slot.state == SlotState::Idle && !slot.full);
        let slots = self.shared.slots_of(DATABASE).count();
        let is_starting = self.shared.slots_of(DATABASE).any(|slot| slot.state == SlotState::Starting);
        let Some(database) = self.shared.database(DATABASE) else { return };
        database.service = Service::Workers(SLOTS as u32);
        let is_due = database.due_at() <= now;
        let has_work = database.has_work(now);
        let may_start = database.start_allowed_at() <= now && !database.is_quiesced();
        let retry = if has_work { database.start_allowed_at().max(now + RETRY) } else { NEVER };
        self.launcher.until = retry.min(if is_due { NEVER } else { database.due_at() });
        if has_work && may_start && slots < SLOTS && !is_starting && !(is_due && has_idle) {
            self.start_worker();
        }
        if is_due && has_idle {
            self.shared.wake_for_due(DATABASE, now);
        }
    }

    fn start_worker(&mut self) {
        let Some(slot) = self.shared.allocate(DATABASE, 0, self.now) else { return };
        self.shared.expect_worker(DATABASE, self.now);
        self.workers.push(Worker::new(slot, self.shared.slots[slot].generation, self.key_types));
    }

    /// Frees slots whose process ended without attaching.
    fn give_up_lost_starts(&mut self) {
        for slot in 0..SLOTS {
            let generation = self.shared.slots[slot].generation;
            let is_alive = self.workers.iter().any(|worker| {
                worker.slot == slot && worker.generation == generation && worker.hand != Hand::Gone
            });
            if self.shared.slots[slot].state == SlotState::Starting && !is_alive {
                self.shared.give_up(slot, generation, self.now);
            }
        }
    }
}
