//! A function that is enqueued after mails which use all places for calls. It needs no call, and must not wait for
//! them.

use std::time::Duration;

use super::calls::{MAIL, check, server};
use crate::mails::Provider;
use crate::queue::{NOTHING, Queue};
use crate::report::Reading;
use crate::result::Result;
use crate::run::Run;

pub fn run(run: &mut Run) -> Result<()> {
    let mails = run.scale.of(500, 20_000, 20_000);
    let provider = Provider::start(Duration::from_millis(200))?;
    let server = server(&provider, &[])?;
    let mut queue = Queue::warm(&server, 1000)?;
    queue.pause()?;
    let crowd = queue.enqueue_as("email", MAIL, mails, "now()")?;
    let rare = queue.enqueue(NOTHING, 1)?;
    queue.resume()?;
    queue.wait()?;
    check(&mut queue, &provider, crowd)?;
    queue.check(rare)?;

    let row = queue.sql.query_one(
        "select extract(epoch from rare.dequeued_at - min(mail.dequeued_at))::float8,
             extract(epoch from max(mail.finished_at) - min(mail.dequeued_at))::float8,
             (count(*) filter (where mail.dequeued_at < rare.dequeued_at))::float8
         from queues.task rare, queues.task mail
         where rare.task_id > $2 and mail.task_id > $1 and mail.task_id <= $2
         group by rare.dequeued_at",
        &[&crowd.after, &rare.after],
    )?;
    let (wait, all, before): (f64, f64, f64) = (row.get(0), row.get(1), row.get(2));
    let name = format!("a function behind {mails} mails of 200 ms");
    run.read(Reading::new(format!("{name}: begun after"), wait, "s").beside("all mails", all));
    run.read(
        Reading::new(format!("{name}: mails begun before"), before, "mails").beside("in front", mails as f64),
    );
    Ok(())
}
