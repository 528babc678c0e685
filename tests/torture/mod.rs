//! Torture: sessions enqueue tasks of every kind while processes are killed, servers stopped, settings changed, locks
//! taken and mails refused, all of it at random from a seed. In the end nothing may be lost, doubled or stuck.
//!
//! - `plan`: from the seed to rounds of faults; `faults` holds the list of them.
//! - `kinds`: the list of tasks; `handlers.sql` holds what they run.
//! - `session`, `outside`: who enqueues, and who competes with the workers inside.
//! - `book`: what sessions were told. `evidence`: what there is in the end. `oracle`: whether the two agree.
//!
//! `make torture` makes a long run, `make test` a short one. The same seed repeats the plan; timing is the machine's.

mod book;
mod choose;
mod evidence;
mod faults;
mod history;
mod kinds;
mod oracle;
mod outside;
mod plan;
mod provider;
mod report;
mod server_checks;
mod session;
mod settle;
mod world;

use std::collections::{BTreeMap, HashMap};
use std::thread;

use book::Entry;
use evidence::AllEvidence;
use plan::{Lane, Options, Plan};
use report::{Report, Witness};
use session::Session;
use world::{World, linger};

/// Sessions that enqueue.
const SESSIONS: usize = 5;
/// Workers outside the database.
const OUTSIDE: usize = 2;
/// Up to so long, in milliseconds, nothing new happens after a fault.
const PAUSE: u64 = 500;
/// A lull follows each round whose number this divides.
const LULL_EVERY: usize = 5;

/// What must not be, whatever is still under way.
const DOUBLED_SO_FAR: &str = "
    select label from app.effect group by label having count(*) > 1
    union
    select label from app.handled group by label having count(*) > 1";

#[test]
fn nothing_is_lost_doubled_or_stuck_in_a_short_torture() {
    run(Options { seed: 20_240_229, rounds: 8 });
}

#[test]
#[ignore = "long: make torture"]
fn torture() {
    run(Options::from_environment());
}

/// A whole run.
///
/// # Panics
/// Something is lost, doubled, stuck or otherwise wrong; faults and log are kept.
fn run(options: Options) {
    // Printed first: it is what one needs if the run is interrupted.
    println!("torture: seed {}, {} rounds", options.seed, options.rounds);
    let mut plan = Plan::new(options);
    let world = World::start(plan.dice());
    let mut witness = Witness { world: &world, options, failed: false };
    torture(&world, plan);
    let report = reckon(&world, options);
    println!("{report}");
    witness.failed = !report.is_good();
    drop(witness);
    assert!(report.is_good(), "seed {}: see above", options.seed);

    /// The rounds, while sessions are at work.
    fn torture(world: &World, mut plan: Plan) {
        thread::scope(|scope| {
            // Whatever happens here, the others have to end, too.
            let _stop = StopAtEnd(world);
            for _ in 0..SESSIONS {
                let session = Session::new(world, plan.dice());
                scope.spawn(move || session.run());
            }
            for _ in 0..OUTSIDE {
                let dice = plan.dice();
                scope.spawn(move || outside::run(world, dice));
            }
            for (number, round) in plan.rounds.into_iter().enumerate() {
                let [first, second] = round.lanes;
                thread::scope(|scope| {
                    scope.spawn(move || drive(world, number + 1, second));
                    drive(world, number + 1, first);
                });
                look(world, number + 1);
                if (number + 1) % LULL_EVERY == 0 {
                    settle::lull(world);
                }
            }
        });
    }
}

/// One fault after the other, with pauses of any length: some hit what another one has just begun to repair.
fn drive(world: &World, round: usize, mut lane: Lane) {
    for (fault, rng) in lane.faults {
        faults::happen(world, round, fault, rng);
        let pause = if lane.rng.bool() { PAUSE } else { PAUSE / 20 };
        linger(&mut lane.rng, pause);
    }
}

struct StopAtEnd<'a>(&'a World);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// After a round: what is wrong already, and whether there are enough tasks.
fn look(world: &World, number: usize) {
    let unfinished = "select count(*) from queues.task where finished_at is null";
    let (doubled, unfinished) = world.insist("looking after a round", |client| {
        let doubled = client.query(DOUBLED_SO_FAR, &[])?;
        let labels: Vec<String> = doubled.iter().map(|row| row.get(0)).collect();
        Ok((labels, client.query_one(unfinished, &[])?.get(0)))
    });
    world.note_crowd(unfinished);
    let unstored = evidence::unstored_requests(world);
    assert!(unstored.is_empty(), "after round {number} these were sent, but are not stored: {unstored:?}");
    assert!(doubled.is_empty(), "after round {number} these were done twice: {doubled:?}");
}

/// The end of the faults, and the accounts.
fn reckon(world: &World, options: Options) -> Report {
    let stuck = settle::settle(world);
    let entries = world.book.entries();
    let (evidence, complaints) = world.insist("gathering the evidence", |client| {
        Ok((evidence::gather(world, client)?, server_checks::complaints(world, client)?))
    });
    let mut findings = oracle::judge(&entries, &evidence, &world.history);
    findings.wrong.extend(complaints);
    Report {
        options,
        seconds: world.history.seconds(),
        kills: world.history.kills(),
        stops: world.history.downs().len(),
        kinds: count(&entries, &evidence, |entry, _| entry.kind.name.to_owned()),
        ends: count(&entries, &evidence, |_, status| status.to_owned()),
        lost: findings.lost,
        doubled: findings.doubled,
        stuck,
        wrong: findings.wrong,
        forgotten: findings.forgotten,
    }
}

/// Counts the tasks that are in the queue by a name.
fn count(
    entries: &HashMap<String, Entry>,
    evidence: &AllEvidence,
    name: impl Fn(&Entry, &str) -> String,
) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (label, entry) in entries {
        if let Some(seen) = evidence.get(label).filter(|seen| seen.rows > 0) {
            *counts.entry(name(entry, &seen.status)).or_default() += 1;
        }
    }
    counts
}
