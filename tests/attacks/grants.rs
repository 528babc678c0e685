//! Rights that are granted: to whom, and for how long.

use serde_json::json;

use super::{Attack, NO_RIGHT, refused, state, text};
use crate::harness::cluster::Cluster;
use crate::harness::queue::wait_status;

/// Everything that is made later is granted to `spy`, and to whoever is a worker.
const GENEROUS: &str = "
    create role spy;
    alter default privileges grant all on functions to spy with grant option;
    alter default privileges grant all on functions to public;
    alter default privileges grant all on tables to spy, public;
    alter default privileges grant all on sequences to spy, public;
    alter default privileges grant all on schemas to spy, public;
    alter default privileges grant all on types to spy;
";

/// What somebody else than the owner may do with an object of ours.
const GRANTED: &str = "
    select coalesce(string_agg(distinct format('%s: %s to %s', o.name, a.privilege_type, coalesce(nullif(a.grantee, 0)::regrole::text, 'public')), E'\\n'), '')
    from (
        select oid::regclass::text as name, relacl as acl, relowner as owner from pg_class where relnamespace in ('queues'::regnamespace, 'errand'::regnamespace)
        union all
        select oid::regprocedure::text, coalesce(proacl, acldefault('f', proowner)), proowner from pg_proc
        where pronamespace in ('queues'::regnamespace, 'errand'::regnamespace, 'internal'::regnamespace)
        union all
        select nspname, nspacl, nspowner from pg_namespace where nspname in ('queues', 'errand', 'internal')
        union all
        select oid::regtype::text, coalesce(typacl, acldefault('T', typowner)), typowner from pg_type
        where typnamespace = 'queues'::regnamespace and typtype = 'b' and typelem = 0
    ) o
    cross join lateral aclexplode(o.acl) a
    where a.grantee not in (o.owner, 'errand_worker'::regrole, 'pg_monitor'::regrole)
        and o.name not in (
            'errand.queue_origin()',
            'errand.worker_state()',
            'errand.worker_waits()',
            'errand.stats()',
            'errand.stats_buckets()',
            'errand.stats_info()',
            'errand.provider_state()',
            'errand.moment()',
            'errand.narrows(timestamp with time zone,text,boolean,boolean,boolean)',
            'errand.change_role(regrole,text,boolean)',
            'errand.health()',
            'errand.report_facts(timestamp with time zone,timestamp with time zone)',
            'errand.report_failures(timestamp with time zone,timestamp with time zone)',
            'errand.report_locks()',
            'errand.report_page(jsonb)',
            'errand.samples()',
            'errand.message_shape(text)',
            'errand.unadopted()',
            'errand.waiting_groups()',
            'errand.waiting()'
        )";

#[test]
fn what_default_privileges_say_opens_nothing() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = cluster.connect("postgres");
    client.batch_execute(GENEROUS).unwrap();
    client.batch_execute("create extension pg_errand").unwrap();
    assert_eq!(text(&mut client, GRANTED), "");
    // The role of the workers is there now.
    client
        .batch_execute(
            "drop extension pg_errand; drop schema internal;
             alter default privileges grant all on functions to errand_worker;
             alter default privileges grant all on tables to errand_worker;
             create extension pg_errand",
        )
        .unwrap();
    let workers = "select string_agg(oid::regprocedure::text, ' ' order by oid) from pg_proc
        where pronamespace in ('queues'::regnamespace, 'errand'::regnamespace, 'internal'::regnamespace) and has_function_privilege('errand_worker', oid, 'execute')";
    assert_eq!(
        text(&mut client, workers),
        "errand.queue_origin() queues.enqueue(text,jsonb,timestamp with time zone,text,text,interval,interval,integer,text) queues.enqueue_many(jsonb) queues.enqueue_many(text,jsonb[],timestamp with time zone[],text[],text,interval,interval,integer,text[]) internal.run_function(text,jsonb) errand.stats() errand.stats_buckets() errand.stats_info() errand.worker_state() errand.worker_waits() errand.moment() errand.narrows(timestamp with time zone,text,boolean,boolean,boolean) errand.unadopted() errand.change_role(regrole,text,boolean) errand.health() errand.provider_state() errand.message_shape(text) errand.waiting_groups() errand.waiting() errand.report_facts(timestamp with time zone,timestamp with time zone) errand.report_failures(timestamp with time zone,timestamp with time zone) errand.report_locks() errand.report_page(jsonb) errand.samples()"
    );
    let tables = "select count(*) from pg_class where relnamespace in ('queues'::regnamespace, 'errand'::regnamespace) and has_table_privilege('errand_worker', oid, 'select')";
    assert_eq!(text(&mut client, tables), "0");
}

#[test]
fn a_handler_changes_nobody_s_future_rights() {
    let mut attack = Attack::start(&[("pg_errand.concurrency", "1")]);
    attack.create("create role powerful createrole");
    let statements = [
        "alter default privileges grant execute on functions to public",
        "alter default privileges revoke execute on functions from public",
        "alter default privileges for role errand_worker grant all on tables to powerful",
        "alter default privileges for role postgres grant all on tables to errand_worker",
        "create role member in role errand_worker",
        "create role member role powerful in group powerful, errand_worker",
    ];
    attack.handler_may_not(&statements);
    // Nor if somebody who might has lent a right.
    attack.create("alter function app.run_sql(jsonb) security definer");
    attack.handler_may_not(&statements);
    assert_eq!(attack.text("select count(*) from pg_default_acl"), "0");
    attack.handler("create role unrelated in role powerful").unwrap();
    // In a session they are commands like others.
    attack.create(statements[0]);
}

/// Whether a role may enqueue tasks of type `http`.
fn may_enqueue(attack: &Attack, role: &str) -> bool {
    let mut client = attack.cluster.connect_as(role, "postgres");
    match client.batch_execute("select queues.enqueue('http', '{}')") {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(state(&error), NO_RIGHT, "{error:?}");
            false
        }
    }
}

#[test]
fn a_grant_of_a_type_belongs_to_the_role_and_not_to_its_name() {
    let mut attack = Attack::start(&[("pg_errand.concurrency", "0")]);
    let create = |name: &str| {
        format!(
            "create role \"{name}\" login; grant usage on schema queues to \"{name}\";
             grant execute on function queues.enqueue to \"{name}\""
        )
    };
    let granted = "select granted_to from queues.task_definition where task_type = 'http'";
    attack.create(&create("ann"));
    attack.create("select queues.grant_enqueue('http', 'ann')");
    assert!(may_enqueue(&attack, "ann"));
    attack.create("alter role ann rename to \"Ann B\"");
    assert!(may_enqueue(&attack, "Ann B"));
    assert_eq!(attack.text(granted), "{\"Ann B\"}");
    attack.create(&create("ann"));
    assert!(!may_enqueue(&attack, "ann"), "a new role of the old name");
    attack.create("drop owned by \"Ann B\"; drop role \"Ann B\"");
    attack.create(&create("Ann B"));
    assert!(!may_enqueue(&attack, "Ann B"), "a new role of the dropped one's name");
    assert_eq!(attack.text(granted), "{none}");
    // What can be read is taken as it is written, and a missing role loses no row.
    attack.create(
        "create table app.dump as select task_type, provider, granted_to::text as granted_to from queues.task_definition where task_type = 'http';
         insert into queues.task_definition (task_type, provider, granted_to, built_in)
         select task_type, provider, granted_to::queues.grantee[], true from app.dump",
    );
    assert_eq!(attack.text(granted), "{}");
    attack.create(
        "update queues.task_definition set granted_to = '{missing,ann,NULL,none}' where task_type = 'http'",
    );
    assert_eq!(attack.text(granted), "{ann}");
    assert!(may_enqueue(&attack, "ann"));
    attack.create("create role missing login");
    assert!(!attack.text(granted).contains("missing"));
    assert_eq!(
        attack.text("select 'ann' = any (granted_to) from queues.task_definition where task_type = 'http'"),
        "true"
    );
    for role in ["public", "none"] {
        let error = attack.client.batch_execute(&format!("create role \"{role}\"")).unwrap_err();
        assert_eq!(state(&error), "42939", "{error:?}");
    }
    attack.create("update queues.task_definition set granted_to = array['public'] where task_type = 'http'");
    assert!(may_enqueue(&attack, "Ann B"));
}

#[test]
fn a_grant_of_a_type_needs_a_role_that_exists() {
    let mut attack = Attack::start(&[("pg_errand.concurrency", "1")]);
    for call in ["to_regrole('no_such_role')", "null", "4294967290::oid::regrole", "0::oid::regrole"] {
        for function in ["grant_enqueue", "revoke_enqueue"] {
            let error = attack
                .client
                .batch_execute(&format!("select queues.{function}('http', {call})"))
                .unwrap_err();
            assert_eq!(state(&error), "42704", "{function} {call}: {error:?}");
            assert!(error.as_db_error().unwrap().hint().is_some(), "{error:?}");
        }
    }
    attack.task(json!({"db_function": "app.nothing"})).unwrap();
}

#[test]
fn replica_mode_lends_no_trust() {
    let mut attack = Attack::start(&[("pg_errand.concurrency", "0")]);
    attack.create(
        "create role admin login; grant usage on schema queues to admin;
         grant select, insert, update, delete on queues.provider, queues.task_definition to admin;
         grant set on parameter session_replication_role to admin",
    );
    let mut admin = attack.cluster.connect_as("admin", "postgres");
    admin
        .batch_execute(
            "set session_replication_role = replica;
             insert into queues.provider (name, base_url, trusted, built_in) values ('inside', 'http://10.0.0.1', true, true);
             update queues.provider set base_url = 'http://10.0.0.2', trusted = true, built_in = true where name = 'inside';
             update queues.provider set trusted = true where name = 'http';
             insert into queues.task_definition (task_type, provider, built_in) values ('inside', 'inside', true)",
        )
        .unwrap();
    let trusted = "select string_agg(name, ' ') from queues.provider where trusted and base_url is not null or trusted and name = 'http' or built_in and name = 'inside'";
    assert_eq!(attack.text(trusted), "");
    assert_eq!(
        attack.text("select built_in from queues.task_definition where task_type = 'inside'"),
        "false"
    );
    // Whatever a superuser applies in that mode says itself who has set it.
    attack.create(
        "set session_replication_role = replica;
         update queues.provider set base_url = 'http://10.0.0.3' where name = 'inside';
         reset session_replication_role",
    );
    assert_eq!(attack.text(trusted), "");
    attack.create("update queues.provider set base_url = 'http://10.0.0.4' where name = 'inside'");
    assert_eq!(attack.text(trusted), "inside");
}

#[test]
fn a_type_that_was_not_granted_comes_in_by_no_column() {
    let mut attack = Attack::start(&[("pg_errand.concurrency", "0")]);
    attack.create(
        "create role writer login; grant usage on schema queues to writer;
         grant select, insert, update, delete on queues.task to writer;
         insert into queues.task (task_type, payload, origin) values ('http', '{\"a\": 1}', 1), ('unknown', '{}', 1)",
    );
    let mut writer = attack.cluster.connect_as("writer", "postgres");
    let insert = "insert into queues.task (task_type, payload, origin) values";
    for sql in [
        &format!("{insert} ('http', '{{}}', 1)"),
        &format!("{insert} ('db_function', '{{}}', 1)"),
        &format!("{insert} ('http', '{{}}', default)"),
        "update queues.task set origin = default",
        "update queues.task set origin = 2",
        "update queues.task set payload = '{\"b\": 1}' where task_type = 'http'",
        "update queues.task set task_type = 'http'",
        "with t as (insert into queues.task (task_type, payload) values ('sms', '{}') returning task_id) select 1;
         update queues.task set task_type = 'http' where task_type = 'sms'",
        "with t as (insert into queues.task (task_type, payload) values ('sms', '{}') returning task_id) select 1;
         update queues.task set origin = 5 where task_type = 'sms'",
    ] {
        refused(&mut writer, sql);
    }
    writer.batch_execute("insert into queues.task (task_type, payload) values ('db_function', '{\"db_function\": \"app.nothing\"}')").unwrap();
    assert_eq!(attack.text("select count(*) from queues.task where origin = errand.queue_origin()"), "1");
    // Adopted tasks were checked where they came from; one of an unknown type holds up no other.
    assert_eq!(attack.text("select queues.adopt()"), "2");
    attack.cluster.set(&[("pg_errand.concurrency", "1")]);
    let task_id = attack.text("select task_id from queues.task where task_type = 'unknown'").parse().unwrap();
    wait_status(&mut attack.client, task_id, "failed");
}
