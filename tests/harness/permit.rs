//! At most three tests have clusters at the same time.

use std::cell::Cell;
use std::sync::{Condvar, Mutex};

/// The number of threads that may have clusters at the same time.
const PERMITS: usize = 3;

static TAKEN: Mutex<usize> = Mutex::new(0);
static RETURNED: Condvar = Condvar::new();

thread_local! {
    /// The number of clusters that this thread has.
    static CLUSTERS: Cell<usize> = const { Cell::new(0) };
}

/// The right to have a cluster. A thread that has a cluster gets further ones without waiting: otherwise two tests that
/// need two clusters each could wait for each other.
pub struct Permit {
    counted: bool,
}

impl Permit {
    /// Waits until fewer than three other threads have clusters.
    pub fn take() -> Self {
        let clusters = CLUSTERS.replace(CLUSTERS.get() + 1);
        let counted = clusters == 0;
        if counted {
            let taken = TAKEN.lock().unwrap();
            *RETURNED.wait_while(taken, |taken| *taken >= PERMITS).unwrap() += 1;
        }
        Self { counted }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        CLUSTERS.set(CLUSTERS.get().saturating_sub(1));
        if self.counted {
            *TAKEN.lock().unwrap() -= 1;
            RETURNED.notify_one();
        }
    }
}
