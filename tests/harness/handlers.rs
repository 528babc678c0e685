//! Handlers for tests, and ways to make them wait.

use postgres::Client;
use postgres::types::FromSqlOwned;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::queue;
use super::wait::{eventually, wait_until_sql};

/// - `note` writes its label into `done`, with the process and the roles that it ran as;
/// - `gate` first waits until no session holds advisory lock `gate` (see [`Gate`]);
/// - `linger` first waits until `door` is open, which needs no session in the database meanwhile;
/// - `nap` first sleeps for `seconds`;
/// - `refuse` raises.
pub const HANDLERS: &str = "
    create table public.done (
        n bigint generated always as identity,
        label text,
        pid int default pg_backend_pid(),
        ran_as text,
        logged_in_as text,
        at timestamptz default clock_timestamp()
    );
    create table public.door (open boolean);
    insert into public.door values (false);
    grant all on public.done, public.door to public;

    create function public.note(payload jsonb) returns jsonb language plpgsql as $$
    begin
        insert into public.done (label, ran_as, logged_in_as)
        values (payload ->> 'label', current_user, session_user);
        return '{}';
    end $$;

    create function public.gate(payload jsonb) returns jsonb language plpgsql as $$
    begin
        perform pg_advisory_xact_lock_shared((payload ->> 'gate')::bigint);
        return public.note(payload);
    end $$;

    create function public.linger(payload jsonb) returns jsonb language plpgsql as $$
    begin
        while not (select open from public.door) loop
            perform pg_sleep(0.02);
        end loop;
        return public.note(payload);
    end $$;

    create function public.nap(payload jsonb) returns jsonb language plpgsql as $$
    begin
        perform pg_sleep((payload ->> 'seconds')::float8);
        return public.note(payload);
    end $$;

    create function public.refuse(payload jsonb) returns jsonb language plpgsql as $$
    begin
        raise exception 'refused: %', payload ->> 'label';
    end $$;
";

/// Creates the extension and the handlers.
///
/// # Panics
/// The server refuses. So does every function here.
#[track_caller]
pub fn install(cluster: &Cluster, database: &str) -> Client {
    let mut client = cluster.connect(database);
    queue::install(&mut client);
    client.batch_execute(HANDLERS).unwrap();
    client
}

/// Creates a database with the extension and the handlers.
#[track_caller]
pub fn create_database(cluster: &Cluster, name: &str) -> Client {
    cluster.connect("postgres").batch_execute(&format!("create database \"{name}\"")).unwrap();
    install(cluster, name)
}

/// The payload of a `db_function` task that runs one of the handlers.
pub fn payload(handler: &str, mut fields: Value) -> Value {
    fields["task_type"] = json!("db_function");
    fields["db_function"] = json!(format!("public.{handler}"));
    fields
}

/// Enqueues a task that runs one of the handlers.
#[track_caller]
pub fn task(client: &mut Client, handler: &str, fields: Value) -> i64 {
    queue::enqueue(client, "db_function", payload(handler, fields))
}

/// Runs a task to its end, to check that tasks are run.
#[track_caller]
pub fn run_one(client: &mut Client, label: &str) -> i64 {
    let id = task(client, "note", json!({ "label": label }));
    queue::wait_status(client, id, "succeeded");
    id
}

/// Returns the only value of a query's only row.
#[track_caller]
pub fn one<T: FromSqlOwned>(client: &mut Client, sql: &str) -> T {
    client.query_one(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

/// Returns the labels that handlers have written, in order.
#[track_caller]
pub fn done(client: &mut Client) -> Vec<String> {
    one(client, "select coalesce(array_agg(label order by n), '{}') from public.done")
}

/// Returns the process ids of all workers of the server.
#[track_caller]
pub fn worker_pids(client: &mut Client) -> Vec<i32> {
    let sql = "select coalesce(array_agg(pid order by pid), '{}') from pg_stat_activity \
               where backend_type = 'pg_errand worker'";
    one(client, sql)
}

/// Waits until there is no worker in the whole server. A process that exits is shown for a moment longer than its worker has
/// a slot.
#[track_caller]
pub fn wait_asleep(client: &mut Client) {
    eventually("there are no workers", || {
        let pids = worker_pids(client);
        if pids.is_empty() { Ok(()) } else { Err(pids) }
    });
}

/// Waits until this many tasks of the client's database are running.
#[track_caller]
pub fn wait_running(client: &mut Client, count: i64) {
    let sql = "select count(*) from queues.task_status where status = 'running'";
    wait_until_sql(client, sql, &count.to_string());
}

/// Waits until a task is running, and returns the process id of its worker.
#[track_caller]
pub fn runner(client: &mut Client, task_id: i64) -> i32 {
    eventually(&format!("task {task_id} runs"), || {
        let workers = queue::workers(client);
        workers.iter().find(|worker| worker.task_id == Some(task_id)).map(|worker| worker.pid).ok_or(workers)
    })
}

/// Makes the tasks that run `gate` with its number wait until it is opened or dropped.
pub struct Gate {
    holder: Client,
    number: i64,
}

impl Gate {
    #[track_caller]
    pub fn close(cluster: &Cluster, database: &str, number: i64) -> Self {
        let mut holder = cluster.connect(database);
        holder.execute("select pg_advisory_lock($1)", &[&number]).unwrap();
        Self { holder, number }
    }

    #[track_caller]
    pub fn open(mut self) {
        self.holder.execute("select pg_advisory_unlock($1)", &[&self.number]).unwrap();
    }
}
