//! Attacks on the queue, its secrets and its rights: a test for each attack that docs/security.md lists.

mod definers;
mod grants;
mod install;
mod names;
mod owners;
mod reading;
mod rights;
mod triggers;
mod wrong_calls;

use postgres::{Client, Error};
use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::queue::{enqueue, install};
use crate::harness::wait::eventually;

/// What PostgreSQL says to whoever lacks a right.
const NO_RIGHT: &str = "42501";
/// The same for names that begin with `pg_`, and for commands that no function may run.
const NOT_HERE: [&str; 2] = ["42939", "25001"];

/// `app.run_sql` lets a task run anything; `app.trap` holds who was caught running a hostile function.
const APP: &str = r#"
    create schema app;
    grant usage on schema app to public;
    create table app.trap (place text, caught text, session_of text, superuser text);
    grant insert on app.trap to public;
    create function app.catch(_place text) returns void
    language sql set search_path = pg_catalog as $$
        insert into app.trap
        select _place, rolname, session_user, case when rolsuper then 'on' else 'off' end
        from pg_roles where rolname = current_user
    $$;
    create function app.run_sql(payload jsonb) returns jsonb language plpgsql as $$
    begin
        execute payload operator(pg_catalog.->>) 'sql';
        return '{}';
    end $$;
    create function app.nothing(payload jsonb) returns jsonb language plpgsql as $$
    begin
        return '{}';
    end $$;
"#;

/// A cluster with the extension and [`APP`].
struct Attack {
    client: Client,
    cluster: Cluster,
}

/// SQLSTATE and message of a failure.
type Refusal = (String, String);

impl Attack {
    #[track_caller]
    fn start(settings: &[(&str, &str)]) -> Self {
        let cluster = Cluster::start(settings);
        let mut client = cluster.connect("postgres");
        install(&mut client);
        client.batch_execute(APP).unwrap();
        Self { client, cluster }
    }

    #[track_caller]
    fn create(&mut self, sql: &str) {
        self.client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    #[track_caller]
    fn text(&mut self, sql: &str) -> String {
        text(&mut self.client, sql)
    }

    /// Has a handler run this.
    #[track_caller]
    fn handler(&mut self, sql: &str) -> Result<(), Refusal> {
        self.task(json!({"db_function": "app.run_sql", "sql": sql}))
    }

    /// Runs a `db_function` task to its end.
    #[track_caller]
    fn task(&mut self, payload: serde_json::Value) -> Result<(), Refusal> {
        let id = enqueue(&mut self.client, "db_function", payload);
        self.end(id)
    }

    /// Waits until a task has ended.
    #[track_caller]
    fn end(&mut self, id: i64) -> Result<(), Refusal> {
        let status =
            format!("select final_status from queues.task where task_id = {id} and finished_at is not null");
        let status = eventually(&format!("task {id} has ended"), || {
            self.client.query_opt(&status, &[]).unwrap().map(|row| row.get::<_, String>(0))
        });
        let sql = "select coalesce(sqlstate, ''), error_message from queues.error where task_id = $1 order by error_id";
        let rows = self.client.query(sql, &[&id]).unwrap();
        match (&*status, rows.first()) {
            ("succeeded", None) => Ok(()),
            (_, Some(row)) => Err((row.get(0), row.get(1))),
            (other, None) => Err((String::new(), other.to_owned())),
        }
    }

    /// A handler may run none of these.
    #[track_caller]
    fn handler_may_not(&mut self, statements: &[&str]) {
        let mut allowed = Vec::new();
        for sql in statements {
            let result = self.handler(sql);
            if !matches!(&result, Err((state, _)) if state == NO_RIGHT || NOT_HERE.contains(&&**state)) {
                allowed.push((sql, result));
            }
        }
        assert!(allowed.is_empty(), "{allowed:#?}");
    }

    /// Nothing has fallen into the trap.
    #[track_caller]
    fn assert_nothing_caught(&mut self) {
        assert_eq!(self.text("select string_agg(t::text, ' ') from app.trap t"), "");
    }
}

/// The first value of a query as text.
#[track_caller]
fn text(client: &mut Client, sql: &str) -> String {
    let row = client.query_one(&format!("select ({sql})::pg_catalog.text"), &[]);
    row.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get::<_, Option<String>>(0).unwrap_or_default()
}

fn state(error: &Error) -> String {
    error.code().map(|code| code.code().to_owned()).unwrap_or_default()
}

/// The statement is refused for lack of a right.
#[track_caller]
fn refused(client: &mut Client, sql: &str) {
    let error = client.batch_execute(sql).expect_err(sql);
    assert_eq!(state(&error), NO_RIGHT, "{sql}: {error:?}");
}
