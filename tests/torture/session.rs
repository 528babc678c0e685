//! A session of an application: it enqueues in every way there is, changes its mind, and looks on.

use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use postgres::{Client, Error};

use super::book::{Draft, Fate};
use super::choose::weighted;
use super::kinds::{KINDS, Kind};
use super::world::{World, linger};

/// Something a session does: name, weight, action.
struct Step {
    name: &'static str,
    weight: u32,
    act: fn(&mut Session, &mut Client) -> Result<(), Error>,
}

// Prepared transactions are ended soon: they hold up whoever wants a strong lock on the queue.
const STEPS: &[Step] = &[
    Step { name: "enqueue", weight: 40, act: |session, client| session.enqueue_one(client) },
    Step { name: "enqueue several", weight: 12, act: |session, client| session.enqueue_several(client) },
    Step { name: "insert rows", weight: 4, act: |session, client| session.insert_rows(client) },
    Step { name: "roll back", weight: 6, act: |session, client| session.roll_back(client) },
    Step {
        name: "roll back to a savepoint",
        weight: 5,
        act: |session, client| session.roll_back_to_savepoint(client),
    },
    Step { name: "prepare", weight: 3, act: |session, client| session.prepare(client) },
    Step {
        name: "end a prepared transaction",
        weight: 20,
        act: |session, client| session.end_prepared(client),
    },
    Step { name: "cancel", weight: 8, act: |session, client| session.cancel(client) },
    Step { name: "look on", weight: 6, act: |session, client| session.look_on(client) },
];

/// A session of the workload, on a thread of its own.
pub struct Session<'a> {
    world: &'a World,
    rng: Rng,
}

impl<'a> Session<'a> {
    pub fn new(world: &'a World, rng: Rng) -> Self {
        Self { world, rng }
    }

    /// Goes on until the world stops.
    pub fn run(mut self) {
        let mut connection = None;
        while !self.world.is_stopping() {
            linger(&mut self.rng, 60);
            if self.world.is_kept_away() {
                connection = None;
                continue;
            }
            let Some(client) = connected(self.world, &mut connection) else { continue };
            let step = weighted(&mut self.rng, STEPS, |step| step.weight);
            if let Err(error) = (step.act)(&mut self, client) {
                self.world.explain(step.name, &error);
                connection = None;
            }
        }
    }

    fn draft(&mut self) -> Draft {
        let kind = weighted(&mut self.rng, KINDS, |kind| kind.weight);
        Draft { label: self.world.book.label(), kind, task_id: None }
    }

    /// Enqueues in whatever transaction there is.
    fn enqueue(&mut self, client: &mut Client, draft: &mut Draft) -> Result<(), Error> {
        let payload = draft.kind.payload(&draft.label, &mut self.rng);
        let delay = if self.rng.u32(0..6) == 0 { self.rng.f64() * 3.0 } else { 0.0 };
        let sql = "select queues.enqueue($1, $2, now() + $3 * interval '1 s')";
        let row = client.query_one(sql, &[&draft.kind.task_type, &payload, &delay])?;
        draft.task_id = Some(row.get(0));
        Ok(())
    }

    /// Several in an open transaction; none of them is in the queue if that fails.
    fn enqueue_drafts(&mut self, client: &mut Client, count: usize) -> Result<Vec<Draft>, Error> {
        let mut drafts: Vec<_> = (0..count).map(|_| self.draft()).collect();
        for draft in &mut drafts {
            if let Err(error) = self.enqueue(client, draft) {
                self.world.book.note(&drafts, Fate::RolledBack);
                return Err(error);
            }
        }
        Ok(drafts)
    }

    /// Notes what a statement that committed, or should have, came to.
    fn note<T>(&self, drafts: &[Draft], committed: Result<T, Error>) -> Result<T, Error> {
        let fate = if committed.is_ok() { Fate::Committed } else { Fate::Doubtful };
        self.world.book.note(drafts, fate);
        committed
    }

    fn enqueue_one(&mut self, client: &mut Client) -> Result<(), Error> {
        if self.world.is_crowded() {
            return Ok(());
        }
        let mut draft = self.draft();
        let enqueued = self.enqueue(client, &mut draft);
        self.note(&[draft], enqueued)
    }

    fn enqueue_several(&mut self, client: &mut Client) -> Result<(), Error> {
        if self.world.is_crowded() {
            return Ok(());
        }
        client.batch_execute("begin")?;
        let count = self.rng.usize(1..8);
        let drafts = self.enqueue_drafts(client, count)?;
        self.note(&drafts, client.batch_execute("commit"))
    }

    fn insert_rows(&mut self, client: &mut Client) -> Result<(), Error> {
        if self.world.is_crowded() {
            return Ok(());
        }
        let kind: &Kind = weighted(&mut self.rng, KINDS, |kind| kind.weight);
        // Few of those that keep workers busy for long.
        let count = self.rng.usize(5..10 + kind.weight as usize);
        let new = |_| Draft { label: self.world.book.label(), kind, task_id: None };
        let drafts: Vec<_> = (0..count).map(new).collect();
        let payloads: Vec<_> = drafts.iter().map(|draft| kind.payload(&draft.label, &mut self.rng)).collect();
        let sql = "insert into queues.task (task_type, payload) select $1, unnest($2::jsonb[])";
        let inserted = client.execute(sql, &[&kind.task_type, &payloads]);
        self.note(&drafts, inserted).map(drop)
    }

    fn roll_back(&mut self, client: &mut Client) -> Result<(), Error> {
        client.batch_execute("begin")?;
        let drafts = self.enqueue_drafts(client, 2)?;
        linger(&mut self.rng, 50);
        self.world.book.note(&drafts, Fate::RolledBack);
        client.batch_execute("rollback")
    }

    fn roll_back_to_savepoint(&mut self, client: &mut Client) -> Result<(), Error> {
        client.batch_execute("begin; savepoint s")?;
        let undone = self.enqueue_drafts(client, 2)?;
        self.world.book.note(&undone, Fate::RolledBack);
        client.batch_execute("rollback to s")?;
        let drafts = self.enqueue_drafts(client, 1)?;
        self.note(&drafts, client.batch_execute("commit"))
    }

    fn prepare(&mut self, client: &mut Client) -> Result<(), Error> {
        client.batch_execute("begin")?;
        let drafts = self.enqueue_drafts(client, 2)?;
        let identifier = drafts[0].label.clone();
        let prepared = client.batch_execute(&format!("prepare transaction '{identifier}'"));
        match prepared {
            Ok(()) => self.world.book.add_prepared(identifier, drafts),
            // What has come of it is seen in the end, when whatever is prepared is committed.
            Err(_) => self.world.book.note(&drafts, Fate::Doubtful),
        }
        prepared
    }

    fn end_prepared(&mut self, client: &mut Client) -> Result<(), Error> {
        let Some((identifier, drafts)) = self.world.book.take_prepared() else { return Ok(()) };
        let commit = self.rng.u32(0..4) > 0;
        let how = if commit { "commit" } else { "rollback" };
        let ended = client.batch_execute(&format!("{how} prepared '{identifier}'"));
        let fate = match (&ended, commit) {
            (Ok(()), true) => Fate::Committed,
            (Ok(()), false) => Fate::RolledBack,
            (Err(_), _) => Fate::Doubtful,
        };
        self.world.book.note(&drafts, fate);
        ended
    }

    fn cancel(&mut self, client: &mut Client) -> Result<(), Error> {
        let Some((label, task_id)) = self.world.book.take_recent() else { return Ok(()) };
        linger(&mut self.rng, 30);
        let asked_at = Instant::now();
        // A task whose row another session holds is waited for.
        let limited = client.batch_execute("set statement_timeout = '10s'");
        let told = limited
            .and_then(|()| client.query_one("select queues.cancel($1)", &[&task_id]))
            .map(|row| row.get::<_, bool>(0));
        match told {
            Ok(false) => {}
            Ok(true) => self.world.book.note_cancel(&label, asked_at, true),
            Err(_) => self.world.book.note_cancel(&label, asked_at, false),
        }
        told?;
        client.batch_execute("set statement_timeout = 0")
    }

    fn look_on(&mut self, client: &mut Client) -> Result<(), Error> {
        client.query("select * from queues.worker", &[])?;
        let sql = "select count(*), count(*) filter (where status is null) from queues.task_status";
        let row = client.query_one(sql, &[])?;
        if row.get::<_, i64>(1) > 0 {
            self.world.history.complain("queues.task_status has a task without a status");
        }
        Ok(())
    }
}

/// The connection, made anew if it is gone; nothing while the server takes none.
pub fn connected<'c>(world: &World, connection: &'c mut Option<Client>) -> Option<&'c mut Client> {
    if connection.as_ref().is_none_or(Client::is_closed) {
        *connection = world.try_connect().inspect_err(|error| world.explain("connecting", error)).ok();
        if connection.is_none() {
            // The server may be down for a while.
            thread::sleep(Duration::from_millis(20));
        }
    }
    connection.as_mut()
}
