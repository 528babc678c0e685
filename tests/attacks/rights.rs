//! Whose rights a handler has, and whose code runs with whose rights.

use serde_json::json;

use super::Attack;
use crate::harness::wait::wait_until_sql;

const ONE_WORKER: [(&str, &str); 2] = [("pg_errand.concurrency", "1"), ("pg_errand.max_idle_time", "0")];

#[test]
fn a_handler_may_do_what_its_role_may_and_no_more() {
    let mut attack = Attack::start(&ONE_WORKER);
    attack.create("create role powerful superuser; create function app.plain() returns int return 1");
    let launcher =
        attack.text("select max(pid) from pg_stat_activity where application_name = 'pg_errand launcher'");
    let session = attack.text("select pg_backend_pid()");
    let statements = [
        "set role powerful",
        "set local role powerful",
        "set session authorization powerful",
        "reset session authorization; reset role; create table app.mine (a int)",
        "select set_config('session_authorization', 'powerful', false)",
        "create role mine",
        "alter role errand_worker superuser",
        "alter role current_user superuser",
        "alter role current_user createrole",
        "alter role current_user bypassrls",
        "grant powerful to current_user",
        "grant pg_read_server_files to current_user",
        "drop role powerful",
        "create event trigger mine on ddl_command_end execute function app.nothing()",
        "create function app.mine() returns int language sql return 1",
        "create function pg_temp.mine() returns int language c as 'pg_errand', 'preloaded_wrapper'",
        "create function pg_temp.mine() returns int language internal as 'pg_backend_pid'",
        "alter function app.plain() security definer",
        "alter function internal.run_function(text, jsonb) security definer",
        "create or replace function internal.run_function(function_name text, payload jsonb) returns jsonb return payload",
        "load '/tmp/mine.so'",
        "copy app.trap to program 'id'",
        "copy app.trap from program 'id'",
        "copy app.trap from '/etc/passwd'",
        "select pg_read_file('/proc/self/environ')",
        "select pg_read_binary_file('postgresql.conf')",
        "select pg_ls_dir('.')",
        "select lo_import('/etc/passwd')",
        "select * from pg_authid",
        "select * from pg_file_settings",
        "select * from pg_hba_file_rules",
        "alter system set pg_errand.concurrency = 1",
        "select pg_reload_conf()",
        "alter database postgres set work_mem = '1MB'",
        "alter default privileges for role powerful grant execute on functions to public",
        "update pg_proc set prosecdef = true",
        "update pg_authid set rolsuper = true",
        "set session_replication_role = replica",
        "set session_preload_libraries = 'mine'",
        "create publication mine for table queues.task",
        "create subscription mine connection '' publication p",
        "create table pg_temp.mine () inherits (queues.task)",
        "create policy mine on queues.task using (true)",
        "comment on table queues.task is 'mine'",
        "reassign owned by powerful to current_user",
        "vacuum_is_no_function()",
    ];
    // The last one is a syntax error and shows that the list is looked at.
    let (last, refused) = statements.split_last().unwrap();
    attack.handler_may_not(refused);
    assert_eq!(attack.handler(last).unwrap_err().0, "42601");
    attack.handler_may_not(&[
        &format!("select pg_terminate_backend({launcher})"),
        &format!("select pg_cancel_backend({session})"),
    ]);
    let escalated = attack.text(
        "select count(*) from pg_roles where rolname = 'errand_worker' and (rolsuper or rolcreaterole or rolbypassrls)",
    );
    assert_eq!(escalated, "0");
}

#[test]
fn a_handler_cannot_change_its_role_for_those_that_come_later() {
    let mut attack = Attack::start(&ONE_WORKER);
    attack.create("create role powerful");
    attack.handler_may_not(&[
        "alter role current_user password 'known'",
        "alter role session_user password 'known'",
        "alter role current_user set search_path = hostile",
        "alter role current_user set role = 'none'",
        "alter role current_user in database postgres set work_mem = '1MB'",
        "alter role current_user reset all",
        "alter user current_user encrypted password 'known'",
        "grant errand_worker to powerful",
    ]);
    assert_eq!(attack.text("select count(*) from pg_db_role_setting"), "0");
    // The same in a security definer function of whoever may: workers don't do it.
    attack.create(
        "create function app.as_owner(payload jsonb) returns jsonb language plpgsql security definer as $$
         begin
             alter role errand_worker password 'known';
             return '{}';
         end $$",
    );
    attack.task(json!({"db_function": "app.as_owner"})).unwrap_err();
    let password = "select rolpassword is null from pg_authid where rolname = 'errand_worker'";
    assert_eq!(attack.text(password), "true");
}

/// A table of `alice`'s, with code of hers wherever a table can have some.
const ALICE: &str = r#"
    create role alice login;
    create schema hers authorization alice;
    set role alice;
    grant usage on schema hers to public;
    create function hers.spy(_place text) returns int language plpgsql immutable as $$
    begin
        perform app.catch(_place);
        return 1;
    end $$;
    create function hers.fired() returns trigger language plpgsql as $$
    begin
        perform hers.spy(tg_when || ' trigger');
        return new;
    end $$;
    create domain hers.checked as int check (hers.spy('domain') = 1);
    create table hers.things (
        a int default hers.spy('default'),
        b int generated always as (hers.spy('generated') + a - a) stored,
        c hers.checked default 1,
        check (hers.spy('check') = 1 or a is null)
    );
    create index on hers.things ((hers.spy('index') + a));
    create trigger one before insert on hers.things for each row execute function hers.fired();
    create trigger two after insert on hers.things for each row execute function hers.fired();
    create constraint trigger three after insert on hers.things initially deferred
        for each row execute function hers.fired();
    alter table hers.things enable row level security;
    create policy p on hers.things using (hers.spy('policy') = 1) with check (hers.spy('policy check') = 1);
    create rule r as on delete to hers.things do also select hers.spy('rule');
    create view hers.seen as select hers.spy('view') as a from hers.things;
    grant all on all tables in schema hers to public;
    create function hers.lent(payload jsonb) returns jsonb language plpgsql security definer as $$
    begin
        perform app.catch('security definer');
        if payload ? 'raise' then
            raise exception 'as asked';
        end if;
        return '{}';
    end $$;
    reset role;
    truncate app.trap;
"#;

#[test]
fn code_in_a_users_table_runs_as_the_worker_role_or_its_owner() {
    let mut attack = Attack::start(&ONE_WORKER);
    attack.create(ALICE);
    attack
        .handler("insert into hers.things default values; select * from hers.things; table hers.seen; delete from hers.things")
        .unwrap();
    attack.handler("select (hers.lent('{}'))").unwrap();
    let places: i64 = attack.text("select count(distinct place) from app.trap").parse().unwrap();
    assert!(places >= 8, "{}", attack.text("select string_agg(distinct place, ', ') from app.trap"));
    let elsewhere = "select string_agg(t::text, ' ') from app.trap t where superuser <> 'off' \
        or session_of <> 'errand_worker' \
        or caught <> case place when 'security definer' then 'alice' else 'errand_worker' end";
    assert_eq!(attack.text(elsewhere), "");
    // What was lent ends with the function, also if it raises, within a task and for the next.
    attack.create(
        "truncate app.trap; create function app.who(payload jsonb) returns jsonb language sql as \
        $$ select app.catch('handler'); select '{}'::jsonb $$",
    );
    for payload in [
        json!({"db_function": "hers.lent", "success_handler": "app.who"}),
        json!({"db_function": "hers.lent", "raise": true, "error_handler": "app.who"}),
        json!({"db_function": "app.who"}),
    ] {
        let _ = attack.task(payload);
    }
    let sql = "select string_agg(distinct caught, ' ') from app.trap where place = 'handler'";
    assert_eq!(attack.text(sql), "errand_worker");
    assert_eq!(attack.text("select count(*) from app.trap where place = 'handler'"), "3");
}

#[test]
fn row_level_security_holds_for_handlers() {
    let mut attack = Attack::start(&ONE_WORKER);
    attack.create(
        "create table app.rows (owner name, secret text);
         insert into app.rows values ('errand_worker', 'mine'), ('alice', 'hers');
         alter table app.rows enable row level security;
         create policy own on app.rows using (owner = current_user);
         create table app.copied (secret text);
         grant all on app.rows, app.copied to public",
    );
    attack.handler("insert into app.copied select secret from app.rows").unwrap();
    assert_eq!(attack.text("select string_agg(secret, ' ') from app.copied"), "mine");
    attack.handler_may_not(&[
        "set row_security = off; insert into app.copied select secret from app.rows",
        "insert into app.rows values ('alice', 'forged')",
    ]);
}

/// A table of `alice`'s that follows the queue, with code that runs when a task is removed.
fn follower(action: &str) -> String {
    format!(
        "create table hers.followers (task_id bigint references queues.task on delete {action});
         create function hers.removed() returns trigger language plpgsql as $$
         begin
             perform app.catch(tg_when || ' ' || tg_op || ' ' || tg_level);
             return case when tg_op = 'DELETE' then old else new end;
         end $$;
         create trigger a before delete or update on hers.followers for each row execute function hers.removed();
         create trigger b after delete or update on hers.followers for each row execute function hers.removed();
         create trigger c after delete or update on hers.followers for each statement execute function hers.removed();
         create constraint trigger d after delete or update on hers.followers initially deferred
             for each row execute function hers.removed()"
    )
}

#[test]
fn code_that_follows_the_removal_of_tasks_does_not_run_as_the_extensions_owner() {
    for action in ["cascade", "set null"] {
        // No worker before there is something to remove: each start is followed by one pass.
        let mut attack = Attack::start(&[("pg_errand.concurrency", "0"), ("pg_errand.retention", "1h")]);
        attack.create(
            "create role alice login; create schema hers authorization alice; grant usage on schema queues to alice;
             grant references on queues.task to alice",
        );
        attack.cluster.connect_as("alice", "postgres").batch_execute(&follower(action)).unwrap();
        attack.create(
            "with old as (
                 insert into queues.task (task_type, payload, enqueued_at, finished_at, final_status)
                 values ('db_function', '{}', now() - interval '1 day', now() - interval '1 day', 'succeeded')
                 returning task_id
             )
             insert into hers.followers select task_id from old",
        );
        attack.cluster.set(&[("pg_errand.concurrency", "1")]);
        let gone = "select count(*) from queues.task where finished_at < now() - interval '1 hour'";
        wait_until_sql(&mut attack.client, gone, "0");
        let caught = attack.text("select string_agg(t::text, ' ') from app.trap t");
        assert!(caught.contains("AFTER"), "{action}: {caught}");
        let as_owner =
            attack.text("select string_agg(t::text, ' ') from app.trap t where superuser <> 'off'");
        assert_eq!(as_owner, "", "{action}");
    }
}
