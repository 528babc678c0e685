//! The gate in front of every answer: closed by `hold`, opened by `release`.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::watch;

#[derive(Clone, Copy, Default)]
struct State {
    closed: bool,
    releases: u64,
}

/// Keeps answers back until told to let them go.
#[derive(Default)]
pub(crate) struct Gate {
    state: watch::Sender<State>,
    waiting: AtomicUsize,
}

impl Gate {
    /// Closes the gate.
    pub(crate) fn hold(&self) {
        self.state.send_modify(|state| state.closed = true);
    }

    /// Opens the gate and lets everything go that waits.
    pub(crate) fn release(&self) {
        self.state.send_modify(|state| {
            state.closed = false;
            state.releases += 1;
        });
    }

    /// How many answers wait at the gate.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Waits while the gate is closed and, if `held`, until the next release.
    pub(crate) async fn pass(&self, held: bool) {
        let mut state = self.state.subscribe();
        let seen = state.borrow().releases;
        let _one_more = Waiting::new(&self.waiting);
        let free = state.wait_for(|state| !state.closed && (!held || state.releases > seen));
        // The sender is a field of the gate, so it cannot be gone.
        let _ = free.await;
    }
}

/// Counts itself for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}
