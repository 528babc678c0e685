//! Rights in one line: `queues.grant_role`, `queues.revoke_role`.

use postgres::Client;
use postgres::error::SqlState;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{install, one};

const NO_WORKER: [(&str, &str); 1] = [("pg_errand.concurrency", "0")];

/// Functions, views and tables of the schema that belong to no kind of role.
const EXCEPTIONS: [&str; 10] = [
    // Who may enqueue which type, and who has which role.
    "grant_enqueue",
    "grant_role",
    "revoke_enqueue",
    "revoke_role",
    // For the owner.
    "restore_built_in",
    // Payloads, requests and responses.
    "call",
    "result",
    "task",
    // Where requests go.
    "provider",
    "task_definition",
];

fn names(client: &mut Client, sql: &str) -> Vec<String> {
    client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

#[track_caller]
fn is_denied(client: &mut Client, sql: &str) {
    let error = client.batch_execute(sql).expect_err(sql);
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{sql}: {error:?}");
}

#[test]
fn each_object_of_the_schema_belongs_to_a_kind_of_role_or_is_an_exception() {
    let cluster = Cluster::start(&NO_WORKER);
    let mut client = install(&cluster, "postgres");
    let unlisted = "select o.name
        from (
            select distinct p.proname::text as name, format('function queues.%I(%s)', p.proname, oidvectortypes(p.proargtypes)) as object
            from pg_proc p where p.pronamespace = 'queues'::regnamespace
            union all
            select c.relname, format('table queues.%I', c.relname)
            from pg_class c where c.relnamespace = 'queues'::regnamespace and c.relkind in ('r', 'v')
        ) o
        where not exists (select 1 from queues.role_privilege p where p.object = o.object)
        order by 1";
    let mut expected = EXCEPTIONS;
    expected.sort_unstable();
    assert_eq!(names(&mut client, unlisted), expected);
}

#[test]
fn each_kind_may_what_it_needs_and_no_more() {
    let cluster = Cluster::start(&NO_WORKER);
    let mut client = install(&cluster, "postgres");
    client.batch_execute("create role r login; select queues.grant_enqueue('sms', 'r')").unwrap();
    let may: [(&str, &[&str]); 4] = [
        ("enqueuer", &["queues.enqueue('sms', '{}')", "queues.enqueue_many('[]')"]),
        (
            "outside_worker",
            &[
                "queues.dequeue_next_available_task()",
                "queues.complete_task(-1)",
                "queues.fail_task(-1, 'x')",
            ],
        ),
        (
            "monitor",
            &[
                "task_id, status, queue_key from queues.task_status",
                "* from queues.worker",
                "* from queues.unadopted",
                "* from queues.metrics",
                "* from queues.metrics_text()",
                "* from queues.explain(null)",
                "* from queues.role_privilege",
            ],
        ),
        (
            "operator",
            &[
                "queues.cancel(-1)",
                "queues.cancel_where('sms')",
                "queues.purge('1 day')",
                "queues.retry_failed()",
                "queues.pause_key('sms', 'a')",
                "last_error from queues.task_status",
                "error_message from queues.error",
            ],
        ),
    ];
    let never = [
        "payload from queues.task",
        "response from queues.call",
        "errand.log_steering('x', 'x', 1)",
        "errand.change_role('r', 'operator', true)",
        "queues.grant_role('r', 'operator')",
    ];
    let mut role = cluster.connect_as("r", "postgres");
    for (kind, own) in &may {
        client.execute("select queues.grant_role('r', $1)", &[kind]).unwrap();
        for sql in own.iter() {
            role.simple_query(&format!("select {sql}"))
                .unwrap_or_else(|error| panic!("{kind} {sql}: {error:?}"));
        }
        never.iter().for_each(|sql| is_denied(&mut role, &format!("select {sql}")));
        for (_, others) in may.iter().filter(|(other, _)| other != kind) {
            // An operator may see what a monitor sees.
            let others = others.iter().filter(|_| *kind != "operator");
            let others = others.filter(|sql| !sql.starts_with('*'));
            others.for_each(|sql| is_denied(&mut role, &format!("select {sql}")));
        }
        client.execute("select queues.revoke_role('r', $1)", &[kind]).unwrap();
        let left = "select count(*) from queues.role_privilege where 'r'::regrole = any (granted_to)";
        assert_eq!(one::<i64>(&mut client, left), 0, "{kind}");
        own.iter().for_each(|sql| is_denied(&mut role, &format!("select {sql}")));
    }
    assert!(!one::<bool>(&mut client, "select has_schema_privilege('r', 'queues', 'usage')"));
}

#[test]
fn what_a_role_has_as_one_of_another_kind_remains() {
    let cluster = Cluster::start(&NO_WORKER);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create role r login;
             select queues.grant_role('r', 'operator');
             select queues.grant_role('r', 'monitor');
             select queues.revoke_role('r', 'operator')",
        )
        .unwrap();
    let mut role = cluster.connect_as("r", "postgres");
    role.batch_execute("select from queues.worker; select task_id from queues.task_status").unwrap();
    is_denied(&mut role, "select queues.cancel(-1)");
    is_denied(&mut role, "select last_error from queues.task_status");
    // A privilege that was granted alone needs the schema.
    client
        .batch_execute(
            "select queues.revoke_role('r', 'monitor');
             select queues.grant_role('r', 'enqueuer');
             grant execute on function queues.cancel(bigint) to r;
             select queues.revoke_role('r', 'enqueuer')",
        )
        .unwrap();
    role.batch_execute("select queues.cancel(-1)").unwrap();
}

#[test]
fn only_those_who_may_grant_the_privileges_do() {
    let cluster = Cluster::start(&NO_WORKER);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create role admin login; create role r;
             grant usage on schema queues to admin;
             grant execute on function queues.grant_role, queues.revoke_role to admin;
             grant select on queues.role_privilege to admin;
             grant execute on function queues.cancel(bigint) to admin",
        )
        .unwrap();
    let mut admin = cluster.connect_as("admin", "postgres");
    for kind in ["operator", "outside_worker"] {
        is_denied(&mut admin, &format!("select queues.grant_role('r', '{kind}')"));
    }
    client
        .batch_execute(
            "grant usage on schema queues to admin with grant option;
             grant execute on function queues.dequeue_next_available_task, queues.complete_task, queues.fail_task,
                 queues.append_error to admin with grant option",
        )
        .unwrap();
    admin.batch_execute("select queues.grant_role('r', 'outside_worker')").unwrap();
    assert!(one::<bool>(
        &mut client,
        "select has_function_privilege('r', 'queues.complete_task(bigint)', 'execute')"
    ));
    admin.batch_execute("select queues.revoke_role('r', 'outside_worker')").unwrap();
    assert!(!one::<bool>(
        &mut client,
        "select has_function_privilege('r', 'queues.complete_task(bigint)', 'execute')"
    ));

    for (call, state, message) in [
        ("grant_role('r', 'root')", "22023", "unknown kind of role \"root\""),
        ("grant_role('r', null)", "22023", "unknown kind of role \"\""),
        ("revoke_role('r', '')", "22023", "unknown kind of role \"\""),
        ("grant_role(to_regrole('nobody'), 'monitor')", "42704", "there is no such role"),
    ] {
        let error = client.batch_execute(&format!("select queues.{call}")).expect_err(call);
        let error = error.as_db_error().unwrap();
        assert_eq!((error.code().code(), error.message()), (state, message));
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()));
    }
}
