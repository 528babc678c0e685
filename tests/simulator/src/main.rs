//! Runs workers, sessions, the launcher and faults on the shipped shared memory (`crates/queue`), in an order that a seed
//! determines, and checks what has to hold.
//!
//! `simulator --seed N --steps N` runs one seed. `simulator --seeds N --steps N` runs N random seeds. A failing run
//! prints its seed, and that seed fails in the same way again.

mod checks;
mod drain;
mod faults;
mod key_checks;
mod key_session;
mod key_worker;
mod keys;
mod launcher;
mod outsider;
mod pauses;
mod reasons;
mod rng;
mod row;
mod session;
mod starvation;
mod types;
mod worker;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use world::World;

fn main() {
    let mut args = std::env::args().skip(1);
    let (mut seed, mut seeds, mut steps) = (None, 1, 200_000);
    while let Some(name) = args.next() {
        let value = args.next().and_then(|value| value.parse::<u64>().ok());
        match (name.as_str(), value) {
            ("--seed", Some(value)) => seed = Some(value),
            ("--seeds", Some(value)) => seeds = value,
            ("--steps", Some(value)) => steps = value,
            _ => {
                eprintln!("usage: simulator [--seed N] [--seeds N] [--steps N]");
                std::process::exit(2);
            }
        }
    }
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_nanos() as u64);
    let seeds: Vec<u64> = match seed {
        Some(seed) => vec![seed],
        None => (0..seeds).map(|n| rng::Rng::new(clock.wrapping_add(n)).next() % 1_000_000_000).collect(),
    };
    let begin = Instant::now();
    let (mut taken, mut ended) = (0, 0);
    for seed in &seeds {
        let run = catch_unwind(AssertUnwindSafe(|| run(*seed, steps)));
        let Ok((steps_taken, tasks)) = run else {
            eprintln!("seed {seed} fails: make simulate SEED={seed} STEPS={steps}");
            std::process::exit(1);
        };
        taken += steps_taken;
        ended += tasks;
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{} seeds, {taken} steps, {ended} tasks in {seconds:.1} s: {:.0} steps per second",
        seeds.len(),
        taken as f64 / seconds
    );
}

/// One run, with windows whose size the seed determines. Returns the steps taken and the tasks that ended.
fn run(seed: u64, steps: u64) -> (u64, usize) {
    match seed % 3 {
        0 => World::<2, 1>::new(seed).run(steps),
        1 => World::<8, 2>::new(seed).run(steps),
        _ => World::<64, 8>::new(seed).run(steps),
    }
}
