//! A long steady load, during which nothing may grow. Finished tasks are removed meanwhile.

use super::paced::{Paced, check, dead};
use super::throughput::WARM;
use crate::queue::{NOTHING, Queue};
use crate::report::{Asked, Reading, number};
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;

/// The rate in tasks per second, if the machine can process twice as many.
const RATE: f64 = 7000.0;
const WINDOWS: usize = 6;
const BATCH: u32 = 10;

/// The events in one part of the time.
#[derive(Clone, Default)]
struct Window {
    tasks: i64,
    p99: f64,
    dead: f64,
}

pub fn run(run: &mut Run) -> Result<()> {
    let seconds = run.scale.of(6, 60, 1800);
    let length = seconds as f64 / WINDOWS as f64;
    let server = Server::start(&[])?;
    let mut queue = Queue::warm(&server, WARM)?;
    let probe = queue.work_off(NOTHING, run.scale.of(2000, 50_000, 50_000))?;
    let rate = RATE.min(queue.rate(probe)? / 2.0);
    queue.set("pg_errand.retention", &format!("{}s", length.ceil()))?;
    let mut windows = vec![Window::default(); WINDOWS];
    let tasks = Paced { rate, seconds, batch: BATCH }.run(&mut queue, |queue, elapsed| {
        let window = &mut windows[place(elapsed, length)];
        window.dead = window.dead.max(dead(queue)?);
        Ok(())
    })?;
    queue.wait()?;
    check(&mut queue, tasks)?;
    fill(&mut queue, length, &mut windows)?;
    print(run, &windows, rate, length);
    Ok(())
}

fn place(elapsed: f64, length: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of a window")]
    let place = (elapsed / length) as usize;
    place.min(WINDOWS - 1)
}

/// The rows are aggregated by the server, since there are too many to fetch them.
fn fill(queue: &mut Queue, length: f64, windows: &mut [Window]) -> Result<()> {
    let rows = queue.sql.query(
        "select least(floor(extract(epoch from started_at - (select min(enqueued_at) from bench.pickup))::float8 / $1), $2),
             count(*), percentile_disc(0.99) within group (
                 order by greatest(extract(epoch from started_at - enqueued_at) * 1000, 0)::float8)
         from bench.pickup group by 1",
        &[&length, &(WINDOWS as f64 - 1.0)],
    )?;
    for row in rows {
        let window = &mut windows[place(row.get(0), 1.0)];
        window.tasks += row.get::<_, i64>(1);
        window.p99 = row.get(2);
    }
    Ok(())
}

/// Compares the last third with the second, since caches are still being filled during the first.
fn print(run: &mut Run, windows: &[Window], rate: f64, length: f64) {
    let most = |windows: &[Window], value: fn(&Window) -> f64| windows.iter().map(value).fold(0.0, f64::max);
    let (middle, last) = (&windows[2..4], &windows[4..]);
    let done = last.iter().map(|window| window.tasks as f64).sum::<f64>() / (2.0 * length);
    let done = Reading::new("run in the last third", done, "tasks/s").beside("enqueued", rate);
    run.read(done.asked(Asked::RatioAtLeast(0.95)));
    let p99 = Reading::new("pickup p99 in the last third", most(last, |window| window.p99), "ms")
        .beside("in the second third", most(middle, |window| window.p99));
    run.read(p99.asked(Asked::AtMost(5.0)));
    let dead =
        Reading::new("dead row versions, most in the last third", most(last, |window| window.dead), "rows")
            .beside("in the second third", most(middle, |window| window.dead));
    // Autovacuum runs once a minute, so the number of dead rows grows in shorter windows in any case.
    run.read(if length > 120.0 { dead.asked(Asked::RatioAtMost(1.5)) } else { dead });
    let mut text =
        String::from("windows\n\n| tasks/s | p99, ms | most dead row versions |\n| --- | --- | --- |");
    for window in windows {
        let cells = [window.tasks as f64 / length, window.p99, window.dead].map(number);
        text += &format!("\n| {} |", cells.join(" | "));
    }
    run.note(text);
}
