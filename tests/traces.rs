//! A handler finds nothing in its process that an earlier task has left there, beyond what `DISCARD ALL` discards.

use std::fs;

use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::mailing::{Mailing, mail, task};
use crate::harness::probe::Probe;
use crate::harness::wait::{eventually, wait_until_sql};

/// `run_as_owner` runs the payload's `sql` with the rights of a superuser; `tell` notes what an expression yields, an
/// error as its SQLSTATE, and the process.
const HANDLERS: &str = "
    create table public.heard (heard_id bigint generated always as identity, pid int, value text);
    grant insert on public.heard to public;
    create function public.run_as_owner(payload jsonb) returns jsonb language plpgsql security definer as $$
    begin
        execute payload ->> 'sql';
        return '{}';
    end $$;
    create function public.tell(payload jsonb) returns jsonb language plpgsql as $$
    declare
        _value text;
    begin
        begin
            execute payload ->> 'sql' into _value;
        exception when others then
            _value := 'error ' || sqlstate;
        end;
        insert into public.heard (pid, value) values (pg_backend_pid(), _value);
        return '{}';
    end $$;
";

struct Traces {
    probe: Probe,
}

impl Traces {
    #[track_caller]
    fn start() -> Self {
        let mut probe = Probe::start(&[]);
        probe.create(HANDLERS);
        Self { probe }
    }

    /// Runs SQL in a task, as the role of the workers or as a superuser.
    #[track_caller]
    fn leave(&mut self, handler: &str, sql: &str) {
        let fate = self.probe.run(json!({ "db_function": format!("public.{handler}"), "sql": sql }));
        assert_eq!(fate.status, "succeeded", "{sql}: {fate:?}");
    }

    /// What a query yields in a task, and in which process.
    #[track_caller]
    fn ask(&mut self, sql: &str) -> (i32, Option<String>) {
        self.leave("tell", sql);
        let row = self.probe.client.query_one("delete from public.heard returning pid, value", &[]).unwrap();
        (row.get(0), row.get(1))
    }

    /// What a query yields after a task has run some SQL; the process has to stay, or has to be another one.
    #[track_caller]
    fn after(&mut self, handler: &str, sql: &str, question: &str, stays: bool) -> Option<String> {
        let (before, _) = self.ask("select 1");
        self.leave(handler, sql);
        let (pid, answer) = self.ask(question);
        assert_eq!(pid == before, stays, "{sql}: process {before} became {pid}");
        answer
    }
}

#[test]
fn a_setting_that_a_task_makes_up_is_unknown_to_the_next_one() {
    let mut traces = Traces::start();
    traces.probe.create(
        "create function public.with_clause(payload jsonb) returns jsonb language plpgsql set app.tenant = '1' as $$
         begin return '{}'; end $$",
    );
    let question = "select current_setting('app.tenant', true)";
    let others = "select current_setting('app.aaa', true) || current_setting('zzz.last', true)
        || current_setting('work_mem')";
    for sql in [
        "select set_config('app.tenant', '42', true)",
        "select set_config('app.tenant', '42', false)",
        "set app.tenant = '42'",
        "set local app.tenant = '42'; set local app.tenant_name = 'x'; set local app.a = 'x'; set local zz.z = 'x'",
        "select public.with_clause('{}')",
        "do $$ begin perform set_config('app.tenant', '42', true); raise division_by_zero;
         exception when division_by_zero then null; end $$",
    ] {
        assert_eq!(traces.after("run_sql", sql, question, true), None, "{sql}");
        assert_eq!(traces.ask(others).1, None, "{sql}");
    }
    // The handler itself has the clause.
    assert_eq!(traces.after("with_clause", "", question, true), None);
    // One that failed, and one that was its own success handler's.
    let failed = traces.probe.run_sql("select set_config('app.tenant', '42', true), 1 / 0");
    assert_eq!(failed.refusal(), "22012");
    assert_eq!(traces.ask(question).1, None);
    let both = "select set_config('app.tenant', '42', true)";
    let told = json!({"db_function": "public.run_sql", "success_handler": "public.run_sql", "sql": both});
    assert_eq!(traces.probe.run(told).status, "succeeded");
    assert_eq!(traces.ask(question).1, None);
    traces.probe.assert_well();
}

#[test]
fn a_setting_of_the_configuration_is_known_to_every_task() {
    let mut traces = Traces::start();
    let question = "select current_setting('app.tenant', true)";
    assert_eq!(traces.after("run_sql", "set app.tenant = '42'", question, true), None);
    let file = traces.probe.cluster.data_dir().join("postgresql.auto.conf");
    let mut settings = fs::read_to_string(&file).unwrap();
    settings.push_str("\napp.tenant = '7'\n");
    fs::write(&file, settings).unwrap();
    traces.probe.cluster.reload();
    eventually("the worker has read the configuration", || match traces.ask(question).1 {
        Some(value) if value == "7" => Ok(()),
        other => Err(other),
    });
    assert_eq!(traces.after("run_sql", "set app.tenant = '42'", question, true), Some("7".into()));
    traces.probe.assert_well();
}

#[test]
fn a_worker_ends_before_settings_of_tasks_become_too_many() {
    let mut traces = Traces::start();
    let many = "do $$ begin for n in 1..1000 loop
        perform set_config('app.n' || n, 'x', true); end loop; end $$";
    assert_eq!(traces.after("run_sql", many, "select current_setting('app.n7', true)", false), None);
}

#[test]
fn random_numbers_do_not_depend_on_the_task_before() {
    let mut traces = Traces::start();
    let row = traces.probe.client.query_one("select setseed(0.25)::text, random()::text", &[]).unwrap();
    let seeded: Option<String> = row.get(1);
    for sql in ["select setseed(0.25)", "set seed = 0.25"] {
        let drawn = traces.after("run_sql", sql, "select random()", true);
        assert_ne!(drawn, seeded, "{sql}");
        let second = traces.after("run_sql", sql, "select random()", true);
        assert_ne!(drawn, second, "{sql}");
    }
}

#[test]
fn temporary_tables_of_a_task_leave_temp_buffers_free_to_the_next_one() {
    let mut traces = Traces::start();
    let change = "do $$ begin set temp_buffers = '1MB'; create temp table t (a int);
        insert into t values (1); end $$";
    let question = "select set_config('temp_buffers', '2MB', true)";
    let table = "create temp table t (a int); insert into t values (1)";
    assert_eq!(traces.after("run_sql", table, question, true), Some("2MB".into()));
    // Only for its own temporary tables a task is refused.
    let late = format!("{table}; set temp_buffers = '1MB'");
    assert_eq!(traces.probe.run_sql(&late).refusal(), "22023");
    // Another number of buffers would be the next task's, too.
    let (pid, _) = traces.ask("select 1");
    traces.probe.cluster.kill(pid, libc::SIGTERM);
    eventually("the worker has ended", || traces.ask("select 1").0 != pid);
    assert_eq!(traces.after("run_sql", change, "show temp_buffers", false), Some("8MB".into()));
}

#[test]
fn what_a_task_opened_is_not_open_in_the_next_one() {
    let mut traces = Traces::start();
    traces.probe.create("create extension dblink");
    let connection =
        format!("host={} user=postgres dbname=postgres", traces.probe.cluster.socket_dir().display());
    for name in ["'c', ", "'a ''quoted'' name', ", ""] {
        let connect = format!("select dblink_connect({name}'{connection}')");
        let names = traces.after("run_as_owner", &connect, "select dblink_get_connections()", true);
        assert_eq!(names, None, "{connect}");
        let used = format!("select a from dblink({name}'select 1') as t (a int)");
        let refused = traces.ask(&used).1.unwrap_or_default();
        // There is no connection, or the name is taken for a connection string.
        assert!(["error 08003", "error 08001", "error 2F003"].contains(&&*refused), "{used}: {refused}");
    }
    let descriptor = "select lo_open(lo_create(0), 131072)";
    assert_eq!(
        traces.after("run_sql", descriptor, "select loread(0, 1)", true).as_deref(),
        Some("error 42704")
    );
    let origin = "select pg_replication_origin_create('o'), pg_replication_origin_session_setup('o')";
    traces.probe.create("grant execute on function pg_replication_origin_session_is_setup() to public");
    let question = "select pg_replication_origin_session_is_setup()";
    assert_eq!(traces.after("run_as_owner", origin, question, false).as_deref(), Some("false"));
    let slot = "select pg_create_physical_replication_slot('s', true, true)";
    traces.leave("run_as_owner", slot);
    wait_until_sql(&mut traces.probe.client, "select count(*) from pg_replication_slots", "0");
}

#[test]
fn a_task_after_one_in_perl_runs_in_another_process() {
    let mut traces = Traces::start();
    traces.probe.create(
        "create extension plperl;
         create function public.shared(payload jsonb) returns jsonb language plperl as $$
             return '{\"found\": \"' . ($_SHARED{trace}++ // '') . ($main::trace++ // '') . '\"}'
         $$",
    );
    let keep = "do $$ $_SHARED{trace} = 1; $main::trace = 1 $$ language plperl";
    let question = "select public.shared('{}') ->> 'found'";
    assert_eq!(traces.after("run_sql", keep, question, false).as_deref(), Some("00"));
    assert_eq!(traces.after("run_sql", "select public.shared('{}')", question, false).as_deref(), Some("00"));
    // The language alone is no reason.
    assert_eq!(traces.after("run_sql", "do $$ begin end $$", "select 1", true).as_deref(), Some("1"));
}

#[test]
fn a_library_that_a_task_loads_is_not_there_for_the_next_one() {
    let mut traces = Traces::start();
    let question = "select current_setting('auto_explain.log_min_duration', true)";
    assert_eq!(traces.after("run_as_owner", "load 'auto_explain'", question, false), None);
}

/// The end of such a worker is neither a death nor a reason for a pause.
#[test]
fn workers_that_end_for_the_traces_of_their_tasks_cost_no_task() {
    let mut traces = Traces::start();
    traces.probe.create("create extension plperl");
    let sql = "insert into queues.task (task_type, payload)
        select 'db_function', jsonb_build_object('db_function', 'public.run_sql', 'sql', 'do $$ $_SHARED{a} = 1 $$ language plperl')
        from generate_series(1, 20)";
    traces.probe.create(sql);
    let ended = "select count(*) filter (where status = 'succeeded' and attempts = 1)
        from queues.task_status where task_id > 1";
    wait_until_sql(&mut traces.probe.client, ended, "20");
}

#[test]
fn a_response_that_comes_after_a_task_in_perl_is_handled_in_another_process() {
    let mut mailing = Mailing::build(
        Cluster::builder()
            .set("pg_errand.resend_api_key", crate::harness::mailing::KEY)
            .set("pg_errand.concurrency", "1")
            .set("pg_errand.call_timeout", "10min"),
    );
    mailing
        .client
        .batch_execute(
            "create extension plperl;
             create function app.shared(_payload jsonb) returns jsonb language plperl as $$
                 $_SHARED{trace} = 1;
                 return '{}';
             $$;
             create function app.finds(_payload jsonb) returns jsonb language plperl as $$
                 die 'found a trace' if $_SHARED{trace};
                 return '{}';
             $$",
        )
        .unwrap();
    mailing.standin.hold();
    let mut payload = task(&mail("someone@mail.test"));
    payload["success_handler"] = json!("app.finds");
    let sent = crate::harness::queue::enqueue(&mut mailing.client, "email", payload);
    mailing.wait_held(1);
    mailing.run_function("app.shared");
    // Other tasks do not wait for the response.
    mailing.run_function("app.note");
    assert_eq!(mailing.standin.held(), 1);
    mailing.standin.release();
    mailing.wait(sent, "succeeded");
    assert_eq!(crate::harness::queue::errors(&mut mailing.client, sent), []);
    assert_eq!(mailing.standin.requests().len(), 1);
}
