//! How the provider misbehaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use fastrand::Rng;
use standin::{Behaviour, End, Standin};

/// Requests of a hundred that are treated badly when nothing is said.
const USUAL: u32 = 5;

/// How many requests of a hundred are treated badly.
pub struct Misery(AtomicU32);

impl Misery {
    /// From now on the stand-in treats some requests badly.
    pub fn install(standin: &Standin, mut dice: Rng) -> Arc<Self> {
        let misery = Arc::new(Self(AtomicU32::new(USUAL)));
        let shared = misery.clone();
        standin.behave(move |_| (dice.u32(0..100) < shared.0.load(Relaxed)).then(|| bad(&mut dice)));
        misery
    }

    pub fn set(&self, percent: u32) {
        self.0.store(percent, Relaxed);
    }

    /// Back to what is usual.
    pub fn reset(&self) {
        self.set(USUAL);
    }

    /// No request is treated badly any more.
    pub fn end(&self) {
        self.set(0);
    }
}

fn bad(dice: &mut Rng) -> Behaviour {
    let in_a_while = Duration::from_millis(dice.u64(0..800));
    let answer = match dice.u32(0..15) {
        0 | 1 => Behaviour::usual().after(in_a_while),
        2 => Behaviour::usual().dripping(Duration::from_millis(5)),
        3 => Behaviour::error(500, "application_error", "Something went wrong."),
        // The mail goes out although the answer says that it doesn't.
        4 => Behaviour::error(500, "application_error", "Something went wrong.").accepting(),
        5 => Behaviour::retry_after(1),
        6 => Behaviour::reset(),
        7 => Behaviour::close().refusing(),
        8 => Behaviour::close(),
        9 => Behaviour::half_head(),
        10 => Behaviour::truncated(),
        11 => Behaviour::invalid_json(),
        12 => Behaviour::html(502, "<h1>Bad gateway</h1>"),
        13 => Behaviour::usual().then(End::Reset),
        _ => Behaviour::never(),
    };
    if dice.bool() { answer } else { answer.after(in_a_while / 4) }
}
