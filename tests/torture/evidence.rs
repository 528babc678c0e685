//! What the database and the provider say in the end, by the tasks' labels.

use std::collections::{HashMap, HashSet};

use postgres::{Client, Error};

use super::world::World;

/// A row of `queues.error`.
#[derive(Debug)]
pub struct ErrorRow {
    pub message: String,
    pub handler: Option<String>,
}

/// What there is of a task.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Its rows in `queues.task`; one, if all is well.
    pub rows: u32,
    pub status: String,
    pub attempts: i32,
    pub errors: Vec<ErrorRow>,
    /// Effects of runs inside,
    pub effects: i64,
    /// and of workers outside.
    pub outside: i64,
    pub bulk: i64,
    pub success_handled: i64,
    pub error_handled: i64,
    /// The provider's answer, as the success handler saw it.
    pub answer: Option<String>,
    /// It has started before it was due.
    pub early: bool,
    /// Its row in `queues.call`, if any: open, and answered.
    pub call: Option<(bool, bool)>,
    /// Requests at the provider: idempotency key and body.
    pub requests: Vec<(String, Vec<u8>)>,
    /// Mails that the provider took: idempotency key and id.
    pub mails: Vec<(String, String)>,
}

/// Everything, by label.
pub type AllEvidence = HashMap<String, Evidence>;

const TASKS: &str = "
    select t.payload ->> 'label', coalesce(t.final_status, 'unfinished'), t.attempts,
        coalesce(t.dequeued_at < t.scheduled_at, false),
        c.task_id is not null, coalesce(c.request is not null, false), coalesce(c.responded_at is not null, false)
    from app.every_task t
    left join app.every_call c using (task_id)";
const ERRORS: &str = "
    select t.payload ->> 'label', e.error_message, e.handler
    from app.every_error e
    join app.every_task t using (task_id)";
const EFFECTS: &str = "
    select label, count(*) filter (where not outside), count(*) filter (where outside) from app.effect group by label";
const BULK: &str = "select label, count(*) from app.bulk group by label";
const HANDLED: &str = "
    select label, count(*) filter (where handler = 'success'), count(*) filter (where handler = 'error'),
        max(detail) filter (where handler = 'success')
    from app.handled
    group by label";

/// Gathers everything.
///
/// # Errors
/// If the server reports an error.
pub fn gather(world: &World, client: &mut Client) -> Result<AllEvidence, Error> {
    let mut all = AllEvidence::new();
    for row in client.query(TASKS, &[])? {
        let evidence = all.entry(row.get(0)).or_default();
        evidence.rows += 1;
        evidence.status = row.get(1);
        evidence.attempts = row.get(2);
        evidence.early = row.get(3);
        evidence.call = row.get::<_, bool>(4).then(|| (row.get(5), row.get(6)));
    }
    for row in client.query(ERRORS, &[])? {
        let error = ErrorRow { message: row.get(1), handler: row.get(2) };
        all.entry(row.get(0)).or_default().errors.push(error);
    }
    for row in client.query(EFFECTS, &[])? {
        let evidence = all.entry(row.get(0)).or_default();
        (evidence.effects, evidence.outside) = (row.get(1), row.get(2));
    }
    for row in client.query(BULK, &[])? {
        all.entry(row.get(0)).or_default().bulk = row.get(1);
    }
    for row in client.query(HANDLED, &[])? {
        let evidence = all.entry(row.get(0)).or_default();
        (evidence.success_handled, evidence.error_handled) = (row.get(1), row.get(2));
        evidence.answer = row.get(3);
    }
    ask_provider(world, &mut all);
    Ok(all)
}

fn ask_provider(world: &World, all: &mut AllEvidence) {
    for exchange in world.standin.requests() {
        let request = &exchange.request;
        let label = request.json().and_then(|body| body["subject"].as_str()).unwrap_or("(no subject)");
        let key = request.header("Idempotency-Key").unwrap_or("(none)").to_owned();
        all.entry(label.to_owned()).or_default().requests.push((key, request.body.clone()));
    }
    for mail in world.standin.mails() {
        let key = mail.idempotency_key.clone().unwrap_or_default();
        all.entry(mail.subject().to_owned()).or_default().mails.push((key, mail.id.clone()));
    }
}

/// Labels of requests that the provider has got although no call with their key is stored.
pub fn unstored_requests(world: &World) -> Vec<String> {
    // Asked first: a request is stored before it is sent.
    let mut requests = AllEvidence::new();
    ask_provider(world, &mut requests);
    let keys: HashSet<String> = world.insist("reading the keys", |client| {
        let rows = client.query("select idempotency_key::text from app.every_call", &[])?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    });
    let stored = |evidence: &Evidence| evidence.requests.iter().all(|(key, _)| keys.contains(key));
    requests.iter().filter(|(_, evidence)| !stored(evidence)).map(|(label, _)| label.clone()).collect()
}
