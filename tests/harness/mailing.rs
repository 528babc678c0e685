//! A cluster whose workers send mails to a stand-in for the provider, with handlers that record their payloads.

use postgres::Client;
use serde_json::{Value, json};
use standin::{Options, Standin};

use super::builder::Builder;
use super::cluster::Cluster;
use super::queue;
use super::wait::eventually;

/// The API key that stand-ins accept.
pub const KEY: &str = "re_test_key";

/// Handlers of the tests. `app.build` and `app.returns` return a part of the task's payload; the others record their
/// payloads in `app.seen`.
const HANDLERS: &str = "
    create schema app;
    grant usage on schema app to public;
    create table app.seen (seen_id bigint generated always as identity, handler text, payload jsonb);
    create sequence app.runs;
    grant usage on sequence app.runs to public;

    create function app.build(_payload jsonb) returns jsonb language sql as $$
        select jsonb_build_object('status', 'succeeded', 'payload', _payload -> 'mail')
    $$;
    create function app.returns(_payload jsonb) returns jsonb language sql as $$
        select _payload -> 'returned'
    $$;
    create function app.raises(_payload jsonb) returns jsonb language plpgsql as $$
    begin
        raise exception 'this handler always raises';
    end
    $$;
    create function app.note(_payload jsonb) returns jsonb language sql security definer as $$
        insert into app.seen (handler, payload) values ('task', _payload) returning '{}'::jsonb
    $$;
    create function app.on_success(_payload jsonb) returns jsonb language sql security definer as $$
        insert into app.seen (handler, payload) values ('success', _payload) returning '{}'::jsonb
    $$;
    create function app.on_error(_payload jsonb) returns jsonb language sql security definer as $$
        insert into app.seen (handler, payload) values ('error', _payload) returning '{}'::jsonb
    $$;
    -- waits for whoever holds the advisory lock 1, each run counted before it waits
    create function app.on_success_waiting(_payload jsonb) returns jsonb language plpgsql security definer as $$
    begin
        perform nextval('app.runs');
        perform pg_advisory_xact_lock(1);
        return app.on_success(_payload);
    end
    $$;
    create function app.on_success_unserializable_twice(_payload jsonb) returns jsonb
    language plpgsql security definer as $$
    begin
        if nextval('app.runs') < 3 then
            raise exception 'try again' using errcode = 'serialization_failure';
        end if;
        return app.on_success(_payload);
    end
    $$;
";

/// A cluster, a session in its database `postgres`, and the stand-in that its workers send mails to.
pub struct Mailing {
    /// A superuser's session.
    pub client: Client,
    /// The cluster.
    pub cluster: Cluster,
    /// The provider.
    pub standin: Standin,
}

impl Mailing {
    /// Starts a cluster with these settings, and with the address and the key of the stand-in.
    #[track_caller]
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let builder = Cluster::builder().set("pg_errand.resend_api_key", KEY);
        Self::build(settings.iter().fold(builder, |builder, (name, value)| builder.set(name, value)))
    }

    /// Starts the cluster that is described; only the address of the stand-in is added.
    #[track_caller]
    pub fn build(builder: Builder) -> Self {
        let standin = Standin::start(Options::default()).unwrap();
        let cluster = builder.set("pg_errand.resend_base_url", &standin.url()).start();
        let mut client = cluster.connect("postgres");
        prepare(&mut client);
        Self { client, cluster, standin }
    }

    /// Enqueues a mail; returns the task's id.
    #[track_caller]
    pub fn send(&mut self, to: &str) -> i64 {
        send(&mut self.client, to)
    }

    /// Enqueues a mail and waits until its task has succeeded.
    #[track_caller]
    pub fn deliver(&mut self, to: &str) -> i64 {
        let task_id = self.send(to);
        self.wait(task_id, "succeeded");
        task_id
    }

    /// Waits until a task has this status.
    #[track_caller]
    pub fn wait(&mut self, task_id: i64, status: &str) {
        queue::wait_status(&mut self.client, task_id, status);
    }

    /// Runs a `db_function` task to its end.
    #[track_caller]
    pub fn run_function(&mut self, name: &str) -> i64 {
        let payload = json!({"task_type": "db_function", "db_function": name});
        let task_id = queue::enqueue(&mut self.client, "db_function", payload);
        self.wait(task_id, "succeeded");
        task_id
    }

    /// Returns the message of a failed task's only error.
    #[track_caller]
    pub fn error(&mut self, task_id: i64) -> String {
        self.wait(task_id, "failed");
        let mut errors = queue::errors(&mut self.client, task_id);
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors.remove(0).error_message
    }

    /// Returns the payloads that the `task`, `success` or `error` handlers received, oldest first.
    #[track_caller]
    pub fn seen(&mut self, handler: &str) -> Vec<Value> {
        let sql = "select payload from app.seen where handler = $1 order by seen_id";
        self.client.query(sql, &[&handler]).unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// Returns the number that a query returns.
    #[track_caller]
    pub fn number(&mut self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }

    /// Waits until the stand-in withholds this many responses.
    #[track_caller]
    pub fn wait_held(&self, count: usize) {
        eventually(&format!("{count} answers are kept back"), || match self.standin.held() {
            held if held == count => Ok(()),
            held => Err(held),
        });
    }

    /// Waits until the stand-in has received this many requests.
    #[track_caller]
    pub fn wait_requests(&self, count: usize) {
        eventually(&format!("{count} requests have come"), || match self.standin.requests().len() {
            seen if seen == count => Ok(()),
            seen => Err(seen),
        });
    }

    /// Returns the process id of the only worker.
    #[track_caller]
    pub fn worker_pid(&mut self) -> i32 {
        let workers = queue::workers(&mut self.client);
        assert_eq!(workers.len(), 1, "{workers:?}");
        workers[0].pid
    }
}

/// Creates the extension and the handlers.
#[track_caller]
pub fn prepare(client: &mut Client) {
    queue::install(client);
    client.batch_execute(HANDLERS).unwrap();
}

/// Returns a mail as a `before_handler` returns it.
pub fn mail(to: &str) -> Value {
    json!({
        "message_id": 7, "from_address": "sender@mail.test", "to_address": to, "subject": "Hello", "html": "<p>Hello</p>",
    })
}

/// Returns the payload of a task that sends this mail.
pub fn task(mail: &Value) -> Value {
    json!({
        "task_type": "email", "before_handler": "app.build", "success_handler": "app.on_success",
        "error_handler": "app.on_error", "mail": mail,
    })
}

/// Enqueues a mail; returns the task's id.
#[track_caller]
pub fn send(client: &mut Client, to: &str) -> i64 {
    queue::enqueue(client, "email", task(&mail(to)))
}
