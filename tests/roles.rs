//! The workers' role: its rights, and the messages when it lacks one.

use std::time::Duration;

use postgres::Client;
use postgres::error::SqlState;
use serde_json::json;

use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{create_database, install, one, run_one, task, wait_asleep, worker_pids};
use crate::harness::queue::{enqueue, errors, status, wait_status};
use crate::harness::wait::{eventually, wait_until_sql, within};

const NO_POLL: (&str, &str) = ("pg_errand.poll_interval", "1h");
const SHORT_STAY: (&str, &str) = ("pg_errand.max_idle_time", "100ms");
const LONG_STAY: (&str, &str) = ("pg_errand.max_idle_time", "0");

/// The roles that the last task ran as: `current_user session_user`.
fn last_roles(client: &mut Client) -> String {
    one(client, "select ran_as || ' ' || logged_in_as from public.done order by n desc limit 1")
}

/// Runs tasks until one ran as this role.
fn wait_role(client: &mut Client, role: &str) {
    eventually(&format!("handlers run as {role}"), || {
        run_one(client, "who");
        let seen = last_roles(client);
        if seen == format!("{role} {role}") { Ok(()) } else { Err(seen) }
    });
}

#[test]
fn create_extension_makes_a_role_that_may_log_in_enqueue_and_nothing_else() {
    let cluster = Cluster::start(&[NO_POLL]);
    let mut client = install(&cluster, "postgres");
    let row = client
        .query_one(
            "select rolcanlogin, rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls, \
             rolpassword is null, rolconnlimit from pg_authid where rolname = 'errand_worker'",
            &[],
        )
        .unwrap();
    let needs_login = one::<i32>(&mut client, "select current_setting('server_version_num')::int") < 170_000;
    assert_eq!(row.get::<_, bool>(0), needs_login);
    assert!(!row.get::<_, bool>(1) && row.get::<_, bool>(2) && row.get::<_, i32>(3) == -1);
    let sql = "select count(*) from pg_auth_members where member = 'errand_worker'::regrole \
               or roleid = 'errand_worker'::regrole";
    assert_eq!(one::<i64>(&mut client, sql), 0);

    client.batch_execute("create role plain").unwrap();
    let functions = |client: &mut Client, role: &str| -> Vec<String> {
        let sql = format!(
            "select coalesce(array_agg(n.nspname || '.' || p.proname order by n.nspname, p.proname), '{{}}') from pg_proc p \
             join pg_namespace n on n.oid = p.pronamespace \
             where n.nspname in ('queues', 'errand', 'internal') and has_schema_privilege('{role}', n.oid, 'usage') \
             and has_function_privilege('{role}', p.oid, 'execute')"
        );
        one(client, &sql)
    };
    assert_eq!(
        functions(&mut client, "errand_worker"),
        ["internal.run_function", "queues.enqueue", "queues.enqueue_many", "queues.enqueue_many"]
    );
    assert_eq!(functions(&mut client, "plain"), Vec::<String>::new());
    for role in ["errand_worker", "plain"] {
        let relations = format!(
            "select count(*) from pg_class c where c.relnamespace = 'queues'::regnamespace and c.relkind in ('r', 'v') \
             and has_table_privilege('{role}', c.oid, 'select, insert, update, delete, truncate, references, trigger')"
        );
        assert_eq!(one::<i64>(&mut client, &relations), 0, "{role}");
        let sequences = format!(
            "select count(*) from pg_class c where c.relnamespace = 'queues'::regnamespace and case c.relkind when 'S' then \
             has_sequence_privilege('{role}', c.oid, 'usage, select, update') end"
        );
        assert_eq!(one::<i64>(&mut client, &sequences), 0, "{role}");
        let create = format!(
            "select has_schema_privilege('{role}', 'queues', 'create') or has_schema_privilege('{role}', 'internal', 'create')"
        );
        assert!(!one::<bool>(&mut client, &create), "{role}");
    }
    let public = "select has_schema_privilege('plain', 'queues', 'usage') or has_schema_privilege('plain', 'internal', 'usage')";
    assert!(!one::<bool>(&mut client, public));

    run_one(&mut client, "1");
    assert_eq!(last_roles(&mut client), "errand_worker errand_worker");
    let mut second = create_database(&cluster, "second");
    run_one(&mut second, "the role was there");
}

#[test]
fn handlers_run_as_the_role_that_is_named() {
    let cluster = Cluster::start(&[NO_POLL, LONG_STAY]);
    let mut client = install(&cluster, "postgres");
    client.batch_execute("create role \"App Worker\" login").unwrap();
    wait_role(&mut client, "errand_worker");
    cluster.set(&[("pg_errand.role", "App Worker")]);
    wait_role(&mut client, "App Worker");
    wait_until_sql(
        &mut client,
        "select count(*) from pg_stat_activity where backend_type = 'pg_errand worker' and usename <> 'App Worker'",
        "0",
    );
    client.batch_execute("alter system reset pg_errand.role").unwrap();
    cluster.reload();
    wait_role(&mut client, "errand_worker");
}

/// The statement that a log line's hint says to run.
fn statement_of_hint(cluster: &Cluster, mark: u64, message: &str) -> String {
    cluster.wait_log(mark, message);
    let hint = eventually("the hint follows", || {
        let log = cluster.log_since(mark);
        let mut lines = log.lines().skip_while(|line| !line.contains(message)).skip(1);
        lines.next().filter(|line| line.contains("HINT:")).map(str::to_owned)
    });
    let statement = hint.split_once("Run: ").unwrap_or_else(|| panic!("{hint}")).1;
    statement.split_inclusive(';').next().unwrap().to_owned()
}

/// A role lacks something: that is one line, however often work comes, and its statement repairs it.
fn told_once_and_repaired(cluster: &Cluster, client: &mut Client, mark: u64, message: &str) {
    let waiting = task(client, "note", json!({"label": "waits"}));
    let statement = statement_of_hint(cluster, mark, message);
    let count = || cluster.log_since(mark).lines().filter(|line| line.contains(message)).count();
    let repeated = within(Duration::from_secs(3), || {
        task(client, "note", json!({"label": "waits, too"}));
        count() > 1
    });
    assert!(!repeated, "{}", cluster.log_since(mark));
    let log = cluster.log_since(mark);
    let noise = log.lines().filter(|line| line.contains("FATAL:") || line.contains("ERROR:")).count();
    assert_eq!(noise, 0, "{log}");
    assert_eq!(status(client, waiting), "ready");
    client.batch_execute(&statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    wait_status(client, waiting, "succeeded");
    run_one(client, "repaired");
}

#[test]
fn what_a_role_lacks_is_one_log_line_with_the_statement_to_run() {
    let cluster = Cluster::start(&[NO_POLL, SHORT_STAY]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");

    let mark = cluster.log_mark();
    cluster.set(&[("pg_errand.role", "not_yet")]);
    told_once_and_repaired(&cluster, &mut client, mark, "role \"not_yet\"");
    assert_eq!(last_roles(&mut client), "not_yet not_yet");

    // From 17 on it need not be allowed to.
    if one::<i32>(&mut client, "select current_setting('server_version_num')::int") < 170_000 {
        let mark = cluster.log_mark();
        client.batch_execute("alter role not_yet nologin").unwrap();
        wait_asleep(&mut client);
        told_once_and_repaired(&cluster, &mut client, mark, "may not log in");
    }

    let mark = cluster.log_mark();
    client.batch_execute("revoke connect on database postgres from public").unwrap();
    wait_asleep(&mut client);
    told_once_and_repaired(&cluster, &mut client, mark, "may not connect");
}

#[test]
fn a_role_that_lost_everything_while_workers_live_is_told_once() {
    let cluster = Cluster::start(&[NO_POLL, LONG_STAY]);
    let mut client = install(&cluster, "postgres");
    client.batch_execute("create role short_lived login").unwrap();
    cluster.set(&[("pg_errand.role", "short_lived")]);
    wait_role(&mut client, "short_lived");
    let mark = cluster.log_mark();
    client.batch_execute("drop owned by short_lived; drop role short_lived").unwrap();
    wait_asleep(&mut client);
    told_once_and_repaired(&cluster, &mut client, mark, "role \"short_lived\"");
    // Renamed away and back.
    let mark = cluster.log_mark();
    client.batch_execute("alter role short_lived rename to another").unwrap();
    wait_asleep(&mut client);
    let waiting = task(&mut client, "note", json!({"label": "renamed"}));
    cluster.wait_log(mark, "role \"short_lived\"");
    client.batch_execute("alter role another rename to short_lived").unwrap();
    wait_status(&mut client, waiting, "succeeded");
}

#[test]
fn what_a_role_may_not_enqueue_is_told_once_not_with_every_worker() {
    let cluster = Cluster::start(&[NO_POLL, SHORT_STAY]);
    let mut client = install(&cluster, "postgres");
    client.batch_execute("create role bare login").unwrap();
    let mark = cluster.log_mark();
    cluster.set(&[("pg_errand.role", "bare")]);
    for round in 0..5 {
        wait_asleep(&mut client);
        run_one(&mut client, &round.to_string());
    }
    let log = cluster.log_since(mark);
    let lines: Vec<&str> =
        log.lines().filter(|line| line.contains("role bare") && line.contains("WARNING")).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
}

#[test]
fn a_database_can_have_a_role_of_its_own_and_a_broken_one_concerns_no_other() {
    let cluster = Cluster::start(&[NO_POLL, SHORT_STAY]);
    let mut a = create_database(&cluster, "a");
    let mut b = create_database(&cluster, "b");
    a.batch_execute("create role a_worker login; alter database a set pg_errand.role = 'a_worker'").unwrap();
    wait_role(&mut a, "a_worker");
    wait_role(&mut b, "errand_worker");

    let mark = cluster.log_mark();
    b.batch_execute("alter database b set pg_errand.role = 'b_worker'").unwrap();
    assert!(statement_of_hint(&cluster, mark, "role \"b_worker\"").contains("b_worker"));
    wait_until_sql(&mut b, "select count(*) from queues.worker", "0");
    let waiting = task(&mut b, "note", json!({"label": "waits"}));
    for _ in 0..3 {
        wait_role(&mut a, "a_worker");
    }
    assert_eq!(status(&mut b, waiting), "ready");
    b.batch_execute("create role b_worker login").unwrap();
    wait_status(&mut b, waiting, "succeeded");
    wait_role(&mut b, "b_worker");

    for (client, name) in [(&mut a, "a"), (&mut b, "b")] {
        client.batch_execute(&format!("alter database {name} reset pg_errand.role")).unwrap();
        wait_role(client, "errand_worker");
    }
}

#[test]
fn an_application_of_an_external_worker_runs_unchanged_with_its_own_role() {
    let cluster = Cluster::start(&[NO_POLL, SHORT_STAY]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create role worker_service_user login;
             create schema comms;
             grant usage on schema comms to worker_service_user;
             create table comms.sent (label text, by text);
             grant insert on comms.sent to worker_service_user;
             create function comms.work(payload jsonb) returns jsonb language plpgsql as $$
             begin
                 insert into comms.sent values (payload ->> 'label', current_user);
                 return jsonb_build_object('success', true);
             end $$;
             create function comms.failed(payload jsonb) returns jsonb language sql as $$ select '{}'::jsonb $$;
             revoke execute on all functions in schema comms from public;
             grant execute on all functions in schema comms to worker_service_user;",
        )
        .unwrap();
    let payload = json!({"task_type": "db_function", "db_function": "comms.work", "label": "1"});
    let refused = enqueue(&mut client, "db_function", payload.clone());
    wait_status(&mut client, refused, "failed");
    let message = errors(&mut client, refused).remove(0).error_message;
    assert!(message.contains("GRANT USAGE ON SCHEMA comms TO errand_worker"), "{message}");
    assert!(message.contains("GRANT EXECUTE ON FUNCTION comms.work("), "{message}");

    wait_asleep(&mut client);
    cluster.set(&[("pg_errand.role", "worker_service_user")]);
    wait_role(&mut client, "worker_service_user");
    let accepted = enqueue(&mut client, "db_function", payload);
    wait_status(&mut client, accepted, "succeeded");
    assert_eq!(
        one::<String>(&mut client, "select string_agg(by, ' ') from comms.sent"),
        "worker_service_user"
    );
}

#[test]
fn workers_are_no_superusers_unless_their_role_is_one() {
    let cluster = Cluster::start(&[NO_POLL, LONG_STAY]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create table public.rights (super text);
             grant insert on public.rights to public;
             create function public.rights(payload jsonb) returns jsonb language plpgsql as $$
             begin
                 insert into public.rights values (current_setting('is_superuser'));
                 begin
                     reset session authorization;
                     set role none;
                     insert into public.rights values (current_setting('is_superuser'));
                     set session authorization postgres;
                     insert into public.rights values ('became a superuser');
                 exception when insufficient_privilege then null;
                 end;
                 return '{}';
             end $$",
        )
        .unwrap();
    let id = task(&mut client, "rights", json!({}));
    wait_status(&mut client, id, "succeeded");
    let rights = "select string_agg(distinct super, ' ') from public.rights";
    assert_eq!(one::<String>(&mut client, rights), "off");
    client.batch_execute("truncate public.rights").unwrap();
    cluster.set(&[("pg_errand.role", "postgres")]);
    wait_role(&mut client, "postgres");
    client
        .batch_execute(
            "create or replace function public.rights(payload jsonb) returns jsonb language sql as \
        $$ insert into public.rights values (current_setting('is_superuser')) returning '{}'::jsonb $$",
        )
        .unwrap();
    let id = task(&mut client, "rights", json!({}));
    wait_status(&mut client, id, "succeeded");
    assert_eq!(one::<String>(&mut client, rights), "on");
    assert!(!worker_pids(&mut client).is_empty());
}

#[test]
fn workers_need_no_right_to_read_the_catalogs() {
    let cluster = Cluster::start(&[NO_POLL, SHORT_STAY]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "revoke select on pg_extension, pg_class, pg_namespace, pg_depend, pg_proc, pg_trigger, pg_index, \
             pg_attribute, pg_type, pg_language from public",
        )
        .unwrap();
    let mark = cluster.log_mark();
    for round in 0..3 {
        wait_asleep(&mut client);
        run_one(&mut client, &round.to_string());
    }
    assert!(!cluster.log_since(mark).contains("permission denied"), "{}", cluster.log_since(mark));
}

#[test]
fn a_renamed_schema_is_told_once_with_the_statement_that_undoes_it() {
    let cluster = Cluster::start(&[SHORT_STAY]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "before");
    wait_asleep(&mut client);
    let mark = cluster.log_mark();
    client.batch_execute("alter schema internal rename to \"my own\"; revoke usage on schema \"my own\" from errand_worker").unwrap();
    run_one(&mut client, "without internal");
    let line = cluster.wait_log(mark, "has not all rights");
    let log = cluster.wait_log(mark, "GRANT USAGE ON SCHEMA queues, \"my own\" TO errand_worker;");
    assert!(log.contains("\"my own\".run_function(text, jsonb) TO errand_worker;"), "{line} {log}");

    wait_asleep(&mut client);
    let mark = cluster.log_mark();
    client.batch_execute("alter schema queues rename to \"Work\"").unwrap();
    // A worker that starts for whatever reason.
    cluster.restart(StopMode::Fast);
    let mut client = cluster.connect("postgres");
    let log = cluster.wait_log(mark, "Run: ALTER SCHEMA \"Work\" RENAME TO queues;");
    assert!(!log.contains("GRANT USAGE ON SCHEMA queues"), "{log}");
    let error = client.batch_execute("select \"Work\".enqueue('db_function', '{}')").unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::UNDEFINED_TABLE), "{error:?}");
    client.batch_execute("alter schema \"Work\" rename to queues").unwrap();
    run_one(&mut client, "after");
    let log = cluster.log_since(mark);
    assert_eq!(log.matches("ALTER SCHEMA \"Work\" RENAME TO queues").count(), 1, "{log}");

    wait_asleep(&mut client);
    let mark = cluster.log_mark();
    client.batch_execute("alter schema errand rename to closed").unwrap();
    cluster.restart(StopMode::Fast);
    let mut client = cluster.connect("postgres");
    cluster.wait_log(mark, "Run: ALTER SCHEMA closed RENAME TO errand;");
    client.batch_execute("alter schema closed rename to errand").unwrap();
    run_one(&mut client, "after that, too");
}

/// What `psql` writes to standard error.
fn told(cluster: &Cluster, database: &str, sql: &str) -> String {
    let output = cluster.client_program("psql").args(["-X", "-d", database, "-c", sql]).output().unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_role_of_that_name_is_used_with_a_warning_unless_it_is_a_superuser() {
    let cluster = Cluster::start(&[NO_POLL]);
    cluster.psql("postgres", "create role errand_worker login superuser");
    let refusal = told(&cluster, "postgres", "create extension pg_errand");
    assert!(refusal.contains("role \"errand_worker\" already exists and is a superuser"), "{refusal}");
    assert!(refusal.contains("HINT:  Run: ALTER ROLE errand_worker NOSUPERUSER;"), "{refusal}");
    cluster.psql("postgres", "alter role errand_worker nosuperuser");
    let warning = told(&cluster, "postgres", "create extension pg_errand; drop extension pg_errand");
    assert!(warning.contains("WARNING:  role \"errand_worker\" already exists"), "{warning}");
    // Not if another role is the workers'.
    cluster.psql("postgres", "alter role errand_worker superuser");
    let warning = told(&cluster, "postgres", "set pg_errand.role = 'other'; create extension pg_errand");
    assert!(warning.contains("\"errand_worker\" already exists, and is not granted anything"), "{warning}");
    cluster.psql("postgres", "alter role errand_worker nosuperuser");
    let has_usage = "select has_schema_privilege('errand_worker', 'queues', 'usage')";
    assert_eq!(cluster.psql("postgres", has_usage), "f");
    assert_eq!(
        cluster.psql("postgres", "select extname from pg_extension where extname = 'pg_errand'"),
        "pg_errand"
    );
}

#[test]
fn the_role_of_the_workers_is_a_role_like_others() {
    let cluster = Cluster::start(&[NO_POLL, SHORT_STAY]);
    let mut client = install(&cluster, "postgres");
    cluster.psql("postgres", "create database second");
    assert_eq!(told(&cluster, "second", "create extension pg_errand"), "");
    client
        .batch_execute("alter role errand_worker set work_mem = '7MB'; alter role errand_worker password 'x'")
        .unwrap();
    wait_asleep(&mut client);
    run_one(&mut client, "afterwards");
    let dump = cluster.client_program("pg_dumpall").arg("--roles-only").output().unwrap();
    let dump = String::from_utf8_lossy(&dump.stdout).into_owned();
    for line in ["CREATE ROLE errand_worker;", "COMMENT ON ROLE errand_worker IS"] {
        assert!(dump.contains(line), "{line}: {dump}");
    }
    // In a server where the dump was restored, nothing is said of it.
    client.batch_execute("select queues.grant_enqueue('http', 'errand_worker')").unwrap();
    assert_eq!(
        one::<String>(
            &mut client,
            "select granted_to::text from queues.task_definition where task_type = 'http'"
        ),
        "{errand_worker}"
    );
    client.batch_execute("alter role errand_worker rename to hands").unwrap();
    assert_eq!(
        one::<String>(
            &mut client,
            "select granted_to::text from queues.task_definition where task_type = 'http'"
        ),
        "{hands}"
    );
}

#[test]
fn the_usual_role_is_there_although_another_one_was_set_before() {
    let cluster = Cluster::start(&[("pg_errand.role", "app_worker")]);
    let mut client = install(&cluster, "postgres");
    client.batch_execute("create role mine login; grant errand_worker to mine").unwrap();
    for role in ["errand_worker", "app_worker", "mine"] {
        let enqueue =
            "queues.enqueue(text, jsonb, timestamptz, text, text, interval, interval, integer, text)";
        let may = format!("select has_function_privilege('{role}', '{enqueue}', 'execute')");
        assert!(one::<bool>(&mut client, &may), "{role}");
    }
    run_one(&mut client, "as app_worker");
    wait_role(&mut client, "app_worker");
}
