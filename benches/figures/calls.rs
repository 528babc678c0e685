//! E-mails sent to the stand-in: whether the allowed number of calls is in flight, and the cost of a mail.

use std::time::Duration;

use crate::cpu;
use crate::mails::Provider;
use crate::queue::{Batch, Queue};
use crate::report::{Asked, Reading};
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;
use crate::wal::Wal;

/// A mail whose success handler inserts a row.
pub const MAIL: &str =
    "jsonb_build_object('before_handler', 'bench.mail', 'success_handler', 'bench.mailed', 'n', n)";

const WORKERS: f64 = 2.0;

/// The behaviour of the provider, the maximum number of calls in flight, and the target.
struct Case {
    delay_ms: u32,
    in_flight: u32,
    mails: i64,
    asked: Asked,
}

pub fn run(run: &mut Run) -> Result<()> {
    let many = |full| run.scale.of(300, full, full * 5);
    let cases = [
        Case { delay_ms: 200, in_flight: 64, mails: many(6000), asked: Asked::RatioAtLeast(0.95) },
        Case { delay_ms: 50, in_flight: 64, mails: many(20_000), asked: Asked::RatioAtLeast(0.95) },
        Case { delay_ms: 50, in_flight: 128, mails: many(20_000), asked: Asked::AtLeast(4500.0) },
    ];
    let seconds = run.scale.of(1, 3, 3);
    let alone = Provider::start(Duration::ZERO)?.requests_per_second(Duration::from_secs(seconds))?;
    run.read(Reading::new("the stand-in by itself", alone, "requests/s").asked(Asked::AtLeast(10_000.0)));
    for case in cases {
        measure(run, &case)?;
    }
    Ok(())
}

fn measure(run: &mut Run, case: &Case) -> Result<()> {
    let provider = Provider::start(Duration::from_millis(case.delay_ms.into()))?;
    let server = server(&provider, &[("pg_errand.max_in_flight", &case.in_flight.to_string())])?;
    let mut queue = Queue::warm(&server, 1000)?;
    queue.pause()?;
    let before = Wal::settled(&mut queue)?;
    let batch = queue.enqueue_as("email", MAIL, case.mails, "now()")?;
    queue.resume()?;
    queue.wait()?;
    let cpu = cpu::seconds_of(&queue.workers()?)?;
    let wal = Wal::settled(&mut queue)?.since(before);
    check(&mut queue, &provider, batch)?;

    let title = format!("{} ms, {} in flight", case.delay_ms, case.in_flight);
    let limit = WORKERS * f64::from(case.in_flight) * 1000.0 / f64::from(case.delay_ms);
    let rate = steady_rate(&mut queue, batch)?;
    let mails = batch.count as f64;
    run.read(Reading::new(&title, rate, "mails/s").beside("in flight / delay", limit).asked(case.asked));
    run.read(Reading::new(format!("{title}: workers' processor time"), cpu / mails * 1000.0, "ms/mail"));
    run.read(Reading::new(format!("{title}: flushes"), wal.syncs as f64 / mails, "per mail"));
    Ok(())
}

/// A server that sends its mails to the stand-in.
///
/// # Errors
/// If the server does not start.
pub fn server(provider: &Provider, settings: &[(&str, &str)]) -> Result<Server> {
    let to = provider.settings();
    let mut all: Vec<(&str, &str)> = to.iter().map(|(name, value)| (*name, value.as_str())).collect();
    all.extend(settings);
    Server::start(&all)
}

/// Checks that each mail was sent once, and that its success handler ran once.
///
/// # Errors
/// If one was not.
pub fn check(queue: &mut Queue, provider: &Provider, batch: Batch) -> Result<()> {
    queue.check(batch)?;
    queue.check_effects("bench.effect", batch.count)?;
    match provider.mails()? {
        mails if i64::try_from(mails)? == batch.count => Ok(()),
        mails => Err(format!("{} tasks sent {mails} mails", batch.count).into()),
    }
}

/// Tasks per second without the first and the last tenth, during which the number of calls in flight grows or shrinks.
fn steady_rate(queue: &mut Queue, batch: Batch) -> Result<f64> {
    let row = queue.sql.query_one(
        "select 0.8 * count(*)::float8 / extract(epoch from
             percentile_disc(0.9) within group (order by finished_at)
             - percentile_disc(0.1) within group (order by finished_at))::float8
         from queues.task where task_id > $1 and task_id <= $1 + $2",
        &[&batch.after, &batch.count],
    )?;
    Ok(row.get(0))
}
