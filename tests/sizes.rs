//! Numbers and strings that are small as jsonb and enormous as text are refused when they are enqueued, and harmless if
//! they are stored already. Workers and sessions have a gigabyte of address space here.

use std::process::Stdio;

use postgres::Error;
use postgres::error::SqlState;
use serde_json::{Value, json};
use standin::{Answer, Web};

use crate::harness::calling::{Calling, at, register};
use crate::harness::cluster::Cluster;
use crate::harness::handlers::one;
use crate::harness::mailing::prepare;
use crate::harness::probe::{MIB, Probe};
use crate::harness::programs::output;

/// 7,000 numbers of ten bytes each are 917 MB as text.
const NUMBERS: &str = "('[' || rtrim(repeat('1e131071,', 7000), ',') || ']')::jsonb";
const GIGABYTE: u64 = 1024 * MIB;

/// With a worker that looks for tasks often, and has half a gigabyte.
fn probe() -> Probe {
    Probe::build(Cluster::builder().memory(GIGABYTE / 2).set("pg_errand.poll_interval", "100ms"))
}

/// As many of them as a payload may have: 262 MB.
fn few() -> String {
    NUMBERS.replace("7000", "2000")
}

/// SQLSTATE and hint of what was refused.
#[track_caller]
fn refusal(result: Result<u64, Error>) -> (SqlState, String) {
    let error = result.unwrap_err();
    let error = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
    (error.code().clone(), error.hint().unwrap_or_default().to_owned())
}

fn dump(cluster: &Cluster) {
    let mut dump = cluster.client_program("pg_dump");
    output(dump.args(["--dbname=postgres", "--file=/dev/null"]).stdin(Stdio::null()));
}

#[test]
fn a_payload_that_is_too_long_as_text_is_refused_wherever_it_comes_in() {
    let cluster = Cluster::builder().memory(GIGABYTE).set("pg_errand.concurrency", "0").start();
    let mut client = cluster.connect("postgres");
    client.batch_execute("create extension pg_errand").unwrap();
    client.execute("insert into queues.task (task_type, payload) values ('db_function', '{}')", &[]).unwrap();
    for payload in [NUMBERS, "jsonb_build_object('a', repeat(chr(1), 50000000))"] {
        for statement in [
            "select queues.enqueue('db_function', PAYLOAD)",
            "insert into queues.task (task_type, payload) values ('db_function', PAYLOAD)",
            "insert into queues.task (task_type, payload, origin) values ('db_function', PAYLOAD, 7)",
            "update queues.task set payload = PAYLOAD",
        ] {
            let (sqlstate, hint) = refusal(client.execute(&statement.replace("PAYLOAD", payload), &[]));
            assert_eq!(sqlstate, SqlState::PROGRAM_LIMIT_EXCEEDED, "{statement}");
            assert!(hint.contains("pg_errand.max_payload_size"), "{hint}");
        }
    }
    // Seven numbers are less than a megabyte, eight are more.
    client.batch_execute("set pg_errand.max_payload_size = '1MB'").unwrap();
    let numbers = |count: usize| {
        format!("select queues.enqueue('db_function', '[{}]')", ["1e131071"].repeat(count).join(","))
    };
    assert_eq!(client.execute(&numbers(7), &[]).unwrap(), 1);
    assert_eq!(refusal(client.execute(&numbers(8), &[])).0, SqlState::PROGRAM_LIMIT_EXCEEDED);
}

#[test]
fn the_worst_payload_that_is_accepted_can_be_dumped() {
    let cluster = Cluster::builder().memory(4 * GIGABYTE).set("pg_errand.concurrency", "0").start();
    let mut client = cluster.connect("postgres");
    client.batch_execute("create extension pg_errand").unwrap();
    // A dump doubles backslashes that the text has doubled before.
    let enqueue = |bytes: u32| {
        format!(
            "select queues.enqueue('db_function', jsonb_build_object('a', repeat('\\', {bytes})), 'infinity')"
        )
    };
    assert_eq!(refusal(client.execute(&enqueue(134_217_728), &[])).0, SqlState::PROGRAM_LIMIT_EXCEEDED);
    assert_eq!(client.execute(&enqueue(134_217_700), &[]).unwrap(), 1);
    dump(&cluster);
}

#[test]
fn a_payload_that_got_in_otherwise_fails_its_task_and_nothing_else() {
    let mut probe = probe();
    let payload = format!(
        "jsonb_build_object('db_function', 'public.run_sql', 'sql', 'select 1', 'error_handler', 'public.run_sql', 'n', {NUMBERS})"
    );
    probe.create(&format!(
        "begin;
         alter table queues.task disable trigger task_before_insert;
         insert into queues.task (task_id, task_type, payload, scheduled_at)
         values (1000, 'db_function', {payload}, 'infinity');
         alter table queues.task enable always trigger task_before_insert;
         commit;
         update queues.task set scheduled_at = now() where task_id = 1000"
    ));
    let fate = probe.fate(1000);
    assert!(fate.errors[0].message.contains("pg_errand.max_payload_size"), "{fate:?}");
    assert_eq!(fate.errors[0].sqlstate, "54000");
    probe.assert_well();
}

#[test]
fn a_handlers_name_that_is_no_name_is_no_text_either() {
    let mut probe = probe();
    for name in [few().as_str(), "to_jsonb(repeat('x', 5000000))"] {
        for field in ["db_function", "success_handler", "error_handler"] {
            let payload = format!(
                "jsonb_build_object('db_function', 'public.run_sql', 'sql', 'select 1') || jsonb_build_object('{field}', {name})"
            );
            let fate = probe.run_built("db_function", &payload);
            assert_eq!(fate.refusal(), "54000", "{field}");
            assert!(fate.errors[0].message.contains(field), "{fate:?}");
        }
    }
    probe.assert_well();
}

#[test]
fn what_a_handler_says_is_found_without_making_text_of_the_rest() {
    let mut probe = probe();
    probe.create(&format!(
        "create function public.say(payload jsonb) returns jsonb language sql as $$
             select case payload ->> 'how'
                 when 'beside' then jsonb_build_object('n', {few})
                 when 'too much' then {NUMBERS}
                 else jsonb_build_object(payload ->> 'how', {few}) end
         $$",
        few = few(),
    ));
    for (how, status, errors) in [
        ("beside", "succeeded", 0),
        ("payload", "succeeded", 0),
        ("status", "succeeded", 0),
        ("validation_failure_message", "succeeded", 0),
        ("error", "failed", 1),
        ("too much", "failed", 1),
    ] {
        let handlers = json!({"db_function": "public.say", "success_handler": "public.run_sql", "how": how, "sql": "select 1"});
        let fate = probe.run(handlers);
        assert_eq!((fate.status.as_str(), fate.errors.len()), (status, errors), "{how}: {fate:?}");
    }
    let refused = "select count(*) from queues.error where sqlstate = '54000' and error_message like '%pg_errand.max_payload_size%'";
    assert_eq!(one::<i64>(&mut probe.client, refused), 1);
    let longest: i32 = one(&mut probe.client, "select max(octet_length(outcome)) from queues.task");
    assert!(longest < 1000, "{longest}");
    probe.assert_well();
}

#[test]
fn a_request_is_measured_before_it_is_text() {
    let mut probe = probe();
    probe.create(&format!(
        "create function public.build(payload jsonb) returns jsonb language sql as $$
             select jsonb_build_object('payload', jsonb_build_object('to_number', '1', 'body', 'b', 'message_id', {few}))
         $$",
        few = few(),
    ));
    let request = format!(
        "jsonb_build_object('request', jsonb_build_object('url', 'http://x.test/', 'body', {}))",
        few()
    );
    for (task_type, payload) in
        [("sms", "jsonb_build_object('before_handler', 'public.build')"), ("http", &request)]
    {
        let fate = probe.run_built(task_type, payload);
        assert_eq!(fate.refusal(), "54000", "{task_type}");
        assert!(fate.errors[0].message.contains("pg_errand.http_max_request_size"), "{fate:?}");
    }
    probe.assert_well();
}

#[test]
fn a_response_whose_numbers_explode_is_kept_as_text_and_the_database_can_be_dumped() {
    let body = format!("{{\"n\":[{}]}}", ["1e131071"].repeat(9000).join(","));
    let sent = body.clone();
    // As it is kept.
    let body = body.replace('e', "e+");
    let web = Web::start(move |_| Answer::new(200, "application/json", sent.clone())).unwrap();
    let cluster = Cluster::builder().memory(GIGABYTE).start();
    let mut client = cluster.connect("postgres");
    prepare(&mut client);
    let mut calling = Calling { client, cluster, web };
    calling.register("api", json!({}));
    let task_id = calling.call_handled("api", &json!({"path": "/x"}));
    calling.wait(task_id, "succeeded");
    let response = calling.result(task_id).unwrap();
    assert_eq!((&response["status"], response["body"].as_str()), (&json!(200), Some(body.as_str())));
    let seen: Vec<Value> = calling.seen("success");
    assert_eq!(seen[0]["worker_payload"]["body"].as_str(), Some(body.as_str()));
    // Few of them are numbers as ever.
    let few = at(&calling.web, json!({"answer": {"first": "{{body.n.0}}"}}));
    register(&mut calling.client, "first", &few).unwrap();
    let task_id = calling.succeed("first", json!({"path": "/x"}));
    let digits = "select length(response ->> 'first')::int8 from queues.call where task_id = ";
    assert_eq!(calling.number(&format!("{digits}{task_id}")), 131_072);
    dump(&calling.cluster);
}

#[test]
fn a_response_with_a_number_that_jsonb_cannot_hold_is_kept_as_text() {
    let mut calling = Calling::start(&[], |_| Answer::new(200, "application/json", r#"{"n":[1e131073,2]}"#));
    calling.register("api", json!({}));
    let task_id = calling.call_handled("api", &json!({"path": "/x"}));
    calling.wait(task_id, "succeeded");
    let response = calling.result(task_id).unwrap();
    assert_eq!((&response["status"], &response["body"]), (&json!(200), &json!(r#"{"n":[1e+131073,2]}"#)));
    let seen: Vec<Value> = calling.seen("success");
    assert_eq!(seen[0]["worker_payload"]["body"], response["body"]);
}

#[test]
fn a_providers_row_that_is_too_long_as_text_is_refused_and_left_out_if_it_is_there() {
    let cluster = Cluster::builder().memory(GIGABYTE).start();
    let mut client = cluster.connect("postgres");
    client.batch_execute("create extension pg_errand").unwrap();
    let big = format!("jsonb_build_object('body', {})", NUMBERS.replace("7000", "3500"));
    for column in ["request", "expect", "answer", "failure", "headers"] {
        let insert = format!(
            "insert into queues.provider (name, base_url, {column}) values ('big', 'https://x.test', {big})"
        );
        let (sqlstate, hint) = refusal(client.execute(&insert, &[]));
        assert_eq!(sqlstate, SqlState::PROGRAM_LIMIT_EXCEEDED, "{column}");
        assert!(hint.contains("queues.provider"), "{hint}");
    }
    client
        .batch_execute(&format!(
            "alter table queues.provider disable trigger provider_before_write_checked;
             insert into queues.provider (name, base_url, request) values ('big', 'https://x.test', {big});
             alter table queues.provider enable always trigger provider_before_write_checked;
             insert into queues.task_definition (task_type, provider) values ('big', 'big')"
        ))
        .unwrap();
    let mut other = cluster.connect("postgres");
    crate::harness::queue::enqueue(&mut other, "sms", json!({}));
    let error = other.execute("select queues.enqueue('big', '{}')", &[]).unwrap_err();
    let message = error.as_db_error().unwrap().message().to_owned();
    assert!(
        message.contains("provider \"big\" cannot be used") && message.contains("1048576 bytes"),
        "{message}"
    );
}
