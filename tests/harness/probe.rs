//! A cluster with one worker that remains alive, for tests of misbehaving handlers, and the outcomes of its tasks.

use postgres::Client;
use serde_json::{Value, json};

use super::builder::Builder;
use super::cluster::Cluster;
use super::handlers::{install, run_one, worker_pids};
use super::memory;
use super::queue::enqueue;
use super::wait::eventually;

/// A mebibyte.
pub const MIB: u64 = 1024 * 1024;

/// Handlers of the tests. `run_sql` runs the SQL in the payload; `on_error` and `on_success` record their payloads.
const HANDLERS: &str = "
    create table public.told (n bigint generated always as identity, what text, payload jsonb);
    grant insert on public.told to public;
    create function public.run_sql(payload jsonb) returns jsonb language plpgsql as $$
    begin
        execute coalesce(payload -> 'original_payload', payload) ->> 'sql';
        return '{}';
    end $$;
    create function public.on_error(payload jsonb) returns jsonb language plpgsql as $$
    begin
        insert into public.told (what, payload) values ('error', payload);
        return '{}';
    end $$;
    create function public.on_success(payload jsonb) returns jsonb language plpgsql as $$
    begin
        insert into public.told (what, payload) values ('success', payload);
        return '{}';
    end $$;
";

/// A cluster with one worker, and a session in its database `postgres`.
pub struct Probe {
    /// A superuser's session.
    pub client: Client,
    /// The cluster.
    pub cluster: Cluster,
    /// The worker's process.
    pub pid: i32,
}

/// The small fields of a row of `queues.error`.
#[derive(Debug)]
pub struct Fault {
    /// The beginning of the message.
    pub message: String,
    /// The length of the message in bytes.
    pub length: i32,
    /// The SQLSTATE.
    pub sqlstate: String,
}

/// The outcome of a task.
#[derive(Debug)]
pub struct Fate {
    /// The task's status.
    pub status: String,
    /// The number of starts.
    pub attempts: i32,
    /// The task's errors, oldest first.
    pub errors: Vec<Fault>,
}

impl Fate {
    /// Returns the SQLSTATE of a failed task's only error, or a description of any other outcome.
    pub fn refusal(&self) -> String {
        match &*self.errors {
            [fault] if self.status == "failed" => fault.sqlstate.clone(),
            _ => format!("{self:?}"),
        }
    }
}

impl Probe {
    /// Starts a cluster with these settings, and with those that keep the worker alive.
    #[track_caller]
    pub fn start(settings: &[(&str, &str)]) -> Self {
        Self::build(
            settings.iter().fold(Cluster::builder(), |builder, (name, value)| builder.set(name, value)),
        )
    }

    /// Starts the cluster that is described; only the settings that keep the worker alive are added.
    #[track_caller]
    pub fn build(builder: Builder) -> Self {
        let base = [
            ("pg_errand.concurrency", "1"),
            ("pg_errand.max_idle_time", "0"),
            // Shared pages that a process has accessed count towards its peak.
            ("shared_buffers", "16MB"),
        ];
        let cluster = base.iter().fold(builder, |builder, (name, value)| builder.set(name, value)).start();
        let mut client = install(&cluster, "postgres");
        client.batch_execute(HANDLERS).unwrap();
        run_one(&mut client, "first");
        let pid = worker_pids(&mut client)[0];
        Self { client, cluster, pid }
    }

    /// Runs SQL as superuser.
    #[track_caller]
    pub fn create(&mut self, sql: &str) {
        self.client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Runs a `db_function` task to its end.
    #[track_caller]
    pub fn run(&mut self, payload: Value) -> Fate {
        let task_id = enqueue(&mut self.client, "db_function", payload);
        self.fate(task_id)
    }

    /// Runs a task whose handler runs SQL.
    #[track_caller]
    pub fn run_sql(&mut self, sql: &str) -> Fate {
        self.run(json!({"db_function": "public.run_sql", "sql": sql}))
    }

    /// Runs the task whose payload is the value of an SQL expression.
    #[track_caller]
    pub fn run_built(&mut self, task_type: &str, payload: &str) -> Fate {
        let sql = format!("select queues.enqueue('{task_type}', {payload})");
        let task_id = self.client.query_one(&sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        self.fate(task_id.get(0))
    }

    /// Waits until a task has ended.
    #[track_caller]
    pub fn fate(&mut self, task_id: i64) -> Fate {
        let sql =
            "select status, attempts, finished_at is not null from queues.task_status where task_id = $1";
        let row = eventually(&format!("task {task_id} has ended"), || {
            let row = self.client.query_one(sql, &[&task_id]).unwrap();
            let ended: bool = row.get(2);
            if ended { Ok(row) } else { Err(row.get::<_, String>(0)) }
        });
        let errors = "select left(error_message, 1000), octet_length(error_message), sqlstate
            from queues.error where task_id = $1 order by error_id";
        let errors = self.client.query(errors, &[&task_id]).unwrap();
        let errors = errors.iter().map(|row| Fault {
            message: row.get(0),
            length: row.get(1),
            sqlstate: row.get::<_, Option<String>>(2).unwrap_or_default(),
        });
        Fate { status: row.get(0), attempts: row.get(1), errors: errors.collect() }
    }

    /// Returns the size of the worker's own memory.
    #[track_caller]
    pub fn memory(&self) -> u64 {
        memory::own(self.pid)
    }

    /// Checks that the first worker is still the only one, and runs tasks.
    #[track_caller]
    pub fn assert_well(&mut self) {
        run_one(&mut self.client, "still here");
        assert_eq!(worker_pids(&mut self.client), [self.pid]);
    }
}
