//! Errors are those of a statement.

use postgres::Client;
use postgres::error::SqlState;

use super::{ENQUEUE, INSERTS, SETTINGS, by_statement, enqueue, prepare, takes_statement, warm};
use crate::harness::handlers::one;
use crate::harness::wait::wait_until_sql;

/// SQLSTATE, message, detail and hint of the error that a statement raises.
#[track_caller]
fn refusal(client: &mut Client, sql: &str) -> (SqlState, [String; 3]) {
    let error = client.query(sql, &[]).expect_err(sql);
    let said = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
    // A backtrace may follow.
    let text = |text: Option<&str>| text.unwrap_or_default().lines().next().unwrap_or_default().to_owned();
    (said.code().clone(), [said.message().to_owned(), text(said.detail()), text(said.hint())])
}

/// Expects that a call is refused in a session, and a statement in another one, and in the same way.
#[track_caller]
fn both(one: &mut Client, other: &mut Client, sql: &str) -> SqlState {
    let (first, second) = (refusal(one, sql), refusal(other, &by_statement(sql)));
    assert_eq!(first, second);
    first.0
}

#[test]
fn errors_are_those_of_a_statement() {
    let (cluster, mut admin) = prepare(&SETTINGS);
    let (mut client, mut fresh) = (warm(&cluster), cluster.connect("postgres"));
    let mut expect = |setup: &str, sql: &str, code: SqlState, undo: &str| {
        for session in [&mut client, &mut fresh] {
            session.batch_execute("rollback; begin").unwrap();
        }
        admin.batch_execute(setup).unwrap();
        assert_eq!(both(&mut client, &mut fresh, sql), code, "{setup}; {sql}");
        for session in [&mut client, &mut fresh] {
            session.batch_execute("rollback").unwrap();
        }
        admin.batch_execute(undo).unwrap();
        assert!(!takes_statement(&mut client), "{setup}; {sql}");
    };
    let key = "alter table queues.task alter column task_id";
    let next = "select setval('queues.task_task_id_seq', (select max(task_id) + 1 from queues.task))";
    expect(
        "select setval('queues.task_task_id_seq', 1, false)",
        // Each session takes a number of its own.
        &format!("select setval('queues.task_task_id_seq', 1, false), {}", &ENQUEUE["select ".len()..]),
        SqlState::UNIQUE_VIOLATION,
        next,
    );
    expect(
        &format!("{key} set maxvalue 100000; select setval('queues.task_task_id_seq', 100000)"),
        ENQUEUE,
        SqlState::SEQUENCE_GENERATOR_LIMIT_EXCEEDED,
        &format!("{key} set no maxvalue; {next}"),
    );
    expect(
        &format!("{key} set minvalue 0 set cycle"),
        &format!("select setval('queues.task_task_id_seq', 0, false), {}", &ENQUEUE["select ".len()..]),
        SqlState::INVALID_PARAMETER_VALUE,
        &format!("{next}; {key} set no minvalue set no cycle"),
    );
    expect("", "select queues.enqueue('unknown', '{}')", SqlState::INVALID_PARAMETER_VALUE, "");
}

#[test]
fn large_payloads_are_refused() {
    let (cluster, _admin) = prepare(&SETTINGS);
    let (mut client, mut fresh) = (warm(&cluster), cluster.connect("postgres"));
    cluster.set(&[("pg_errand.max_payload_size", "10000")]);
    for session in [&mut client, &mut fresh] {
        wait_until_sql(session, "show pg_errand.max_payload_size", "10000B");
    }
    let large = "select queues.enqueue('db_function', jsonb_build_object('x', repeat('a', 20000)))";
    assert_eq!(both(&mut client, &mut fresh, large), SqlState::PROGRAM_LIMIT_EXCEEDED);
}

#[test]
fn transactions_that_may_not_write_are_refused() {
    let (cluster, _admin) = prepare(&SETTINGS);
    let (mut client, mut fresh) = (warm(&cluster), cluster.connect("postgres"));
    for session in [&mut client, &mut fresh] {
        session.batch_execute("begin read only").unwrap();
    }
    assert_eq!(both(&mut client, &mut fresh, ENQUEUE), SqlState::READ_ONLY_SQL_TRANSACTION);
    for session in [&mut client, &mut fresh] {
        session.batch_execute("rollback; set lock_timeout = '10ms'").unwrap();
    }
    let mut locker = cluster.connect("postgres");
    locker.batch_execute("begin; lock table queues.task in share mode").unwrap();
    assert_eq!(both(&mut client, &mut fresh, ENQUEUE), SqlState::LOCK_NOT_AVAILABLE);
    locker.batch_execute("rollback").unwrap();
    assert!(!takes_statement(&mut client));
}

#[test]
fn what_is_rolled_back_is_not_there() {
    let (cluster, mut admin) = prepare(&SETTINGS);
    let mut client = warm(&cluster);
    let count = "select count(*) from queues.task";
    let before: i64 = one(&mut client, count);
    client
        .batch_execute(&format!("begin; savepoint a; {ENQUEUE}; rollback to a; {ENQUEUE}; commit"))
        .unwrap();
    client.batch_execute(&format!("begin; {ENQUEUE}; rollback")).unwrap();
    let caught = "do $$ begin perform queues.enqueue('db_function', '{}'); raise 'x'; exception when others then end $$";
    client.batch_execute(caught).unwrap();
    assert_eq!(one::<i64>(&mut client, count), before + 1);
    client.batch_execute(&format!("begin isolation level serializable; {ENQUEUE}; commit")).unwrap();
    client.batch_execute(&format!("begin isolation level repeatable read; {ENQUEUE}; commit")).unwrap();
    assert_eq!(one::<i64>(&mut admin, count), before + 3);
    // A later command of the same transaction sees the task, also one of the same function.
    client
        .batch_execute(
            "do $$ declare _id bigint := queues.enqueue('db_function', '{}');
             begin assert exists (select 1 from queues.task where task_id = _id); end $$",
        )
        .unwrap();
}

#[test]
fn the_owner_of_the_table_needs_its_privilege() {
    let (cluster, mut admin) = prepare(&SETTINGS);
    admin
        .batch_execute(
            "create role keeper; grant usage on schema queues, errand to keeper;
             alter table queues.task owner to keeper",
        )
        .unwrap();
    let (mut client, mut fresh) = (warm(&cluster), cluster.connect("postgres"));
    let before: i64 = one(&mut admin, INSERTS);
    enqueue(&mut client);
    assert_eq!(one::<i64>(&mut admin, INSERTS), before);
    admin.batch_execute("revoke insert on queues.task from keeper").unwrap();
    assert_eq!(both(&mut client, &mut fresh, ENQUEUE), SqlState::INSUFFICIENT_PRIVILEGE);
    admin.batch_execute("grant insert on queues.task to keeper").unwrap();
    enqueue(&mut client);
}
