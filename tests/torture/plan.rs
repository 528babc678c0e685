//! What happens in a run, from its seed: rounds of faults, and the dice of everybody who takes part.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use fastrand::Rng;

use super::choose::weighted;
use super::faults::{FAULTS, Fault};

/// Rounds of a run that nobody asked to be longer or shorter.
const ROUNDS: usize = 60;
/// Faults in one round at most.
const MAX_FAULTS: usize = 3;

/// How a run was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub seed: u64,
    pub rounds: usize,
}

impl Options {
    /// From `TORTURE_SEED` and `TORTURE_ROUNDS`; without the former each run differs.
    ///
    /// # Panics
    /// One of them is no number.
    pub fn from_environment() -> Self {
        let number = |name: &str| {
            let text = env::var(name).ok().filter(|text| !text.is_empty())?;
            Some(text.parse::<u64>().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
        };
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        Self {
            seed: number("TORTURE_SEED").unwrap_or_else(|| now() % 1_000_000),
            rounds: number("TORTURE_ROUNDS").map_or(ROUNDS, |rounds| rounds as usize),
        }
    }
}

/// Faults, one after the other, each with dice of its own; and dice for the pauses between them.
pub struct Lane {
    pub faults: Vec<(&'static Fault, Rng)>,
    pub rng: Rng,
}

/// A round: two lanes at the same time. What stops the server is in the first one only.
pub struct Round {
    pub lanes: [Lane; 2],
}

/// A run. The same seed makes the same plan; what the processes make of it is up to them.
pub struct Plan {
    pub rounds: Vec<Round>,
    dice: Rng,
}

impl Plan {
    pub fn new(options: Options) -> Self {
        let mut dice = Rng::with_seed(options.seed);
        let rounds = (0..options.rounds).map(|_| round(&mut dice)).collect();
        Self { rounds, dice }
    }

    /// Dice for one more participant.
    pub fn dice(&mut self) -> Rng {
        self.dice.fork()
    }
}

fn round(dice: &mut Rng) -> Round {
    let count = dice.usize(1..=MAX_FAULTS);
    let beside = dice.usize(0..=MAX_FAULTS);
    Round { lanes: [lane(dice, count, |_| true), lane(dice, beside, |fault| fault.beside)] }
}

fn lane(dice: &mut Rng, count: usize, fits: impl Fn(&Fault) -> bool) -> Lane {
    let mut rng = dice.fork();
    let weight = |fault: &Fault| if fits(fault) { fault.weight } else { 0 };
    let faults = (0..count).map(|_| (weighted(&mut rng, FAULTS, weight), rng.fork())).collect();
    Lane { faults, rng }
}
