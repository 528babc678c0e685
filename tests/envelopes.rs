//! The meaning of what handlers return, by the contract's table, with real workers.

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::queue::install;
use crate::harness::wait::eventually;

/// `app.answer` returns the `result` that the payload asks for; the others leave traces.
const APP: &str = r#"
    create schema app;
    grant usage on schema app to errand_worker;
    create table app.seen (
        seen_id bigint generated always as identity,
        what text not null,
        case_number int not null,
        payload jsonb
    );
    grant insert on app.seen to errand_worker;
    create function app.answer(payload jsonb) returns jsonb language plpgsql as $$
    begin
        insert into app.seen (what, case_number, payload) values ('answer', (payload ->> 'case')::int, payload);
        if payload ? 'raise' then
            raise exception '%', payload ->> 'raise';
        end if;
        return payload -> 'result';
    end $$;
    create function app.on_success(payload jsonb) returns jsonb language plpgsql as $$
    begin
        insert into app.seen (what, case_number, payload)
        values ('success', (payload -> 'original_payload' ->> 'case')::int, payload -> 'worker_payload');
        return '{}';
    end $$;
    create function app.on_error(payload jsonb) returns jsonb language plpgsql as $$
    begin
        insert into app.seen (what, case_number, payload)
        values ('error', (payload -> 'original_payload' ->> 'case')::int, payload -> 'error');
        return '{}';
    end $$;
"#;

/// What a result is to mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// Success, and nothing else to tell.
    Success,
    /// Neither success nor failure: the outcome contains this.
    Outcome(&'static str),
    /// A failure whose error contains this.
    Failure(&'static str),
}
use Meaning::{Failure, Outcome, Success};

/// What became of a task, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Fate {
    status: String,
    outcome: Option<String>,
    errors: Vec<String>,
    /// What ran, in order.
    traces: Vec<String>,
    /// What the last handler was given, a text without its quotes.
    given: Option<String>,
}

fn start() -> (Cluster, Client) {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect("postgres");
    install(&mut client);
    client.batch_execute(APP).unwrap();
    (cluster, client)
}

/// Enqueues a task of one case. `result` is what its main handler returns; none: SQL null.
fn enqueue(client: &mut Client, task_type: &str, case: usize, result: Option<&str>) -> i64 {
    let handler = if task_type == "db_function" { "db_function" } else { "before_handler" };
    let result = result.map(|result| format!(r#", "result": {result}"#)).unwrap_or_default();
    let payload = format!(
        r#"{{"{handler}": "app.answer", "success_handler": "app.on_success", "error_handler": "app.on_error",
            "case": {case}{result}}}"#
    );
    let sql = "select queues.enqueue($1, $2::text::jsonb)";
    client.query_one(sql, &[&task_type, &payload]).unwrap().get(0)
}

/// Waits until a task has ended.
#[track_caller]
fn fate(client: &mut Client, task_id: i64, case: usize) -> Fate {
    let sql = "select status, outcome, finished_at is not null from queues.task_status where task_id = $1";
    let row = eventually(&format!("task {task_id} has ended"), || {
        let row = client.query_one(sql, &[&task_id]).unwrap();
        let ended: bool = row.get(2);
        if ended { Ok(row) } else { Err(row.get::<_, String>(0)) }
    });
    let errors = "select error_message from queues.error where task_id = $1 order by error_id";
    let errors = client.query(errors, &[&task_id]).unwrap();
    let case = i32::try_from(case).unwrap();
    let seen = "select what, payload #>> '{}' from app.seen where case_number = $1 order by seen_id";
    let seen = client.query(seen, &[&case]).unwrap();
    Fate {
        status: row.get(0),
        outcome: row.get(1),
        errors: errors.iter().map(|row| row.get(0)).collect(),
        traces: seen.iter().map(|row| row.get(0)).collect(),
        given: seen.last().and_then(|row| row.get(1)),
    }
}

#[test]
fn results_of_a_db_function_mean_what_the_contract_says() {
    let (_cluster, mut client) = start();
    let deep = format!(r#"{{"payload": {}1{}}}"#, "[".repeat(500), "]".repeat(500));
    let cases: Vec<(Option<&str>, Meaning)> = vec![
        (None, Success),
        (Some("{}"), Success),
        (Some(r#"{"anything": [1, 2], "else": {"a": null}}"#), Success),
        (
            Some(r#"{"success": true, "error": null, "validation_failure_message": null, "payload": {}}"#),
            Success,
        ),
        (Some(r#"{"success": null}"#), Success),
        (Some(r#"{"error": null}"#), Success),
        (Some(r#"{"error": false}"#), Success),
        (Some(r#"{"error": ""}"#), Success),
        (Some(r#"{"error": {}}"#), Success),
        (Some(r#"{"validation_failure_message": ""}"#), Success),
        (Some(r#"{"status": "succeeded"}"#), Success),
        (Some(r#"{"status": "succeeded", "payload": {"error": "not mine"}}"#), Success),
        (Some(r#"{"status": null}"#), Success),
        (Some(r#"{"n": 123456789012345678901234567890.5, "m": 1e400}"#), Success),
        (Some(&deep), Success),
        (Some(r#"{"validation_failure_message": "no address"}"#), Outcome("no address")),
        (Some(r#"{"validation_failure_message": "no address", "success": false}"#), Outcome("no address")),
        (Some(r#"{"success": false}"#), Outcome("")),
        (Some(r#"{"success": false, "error": null, "payload": {}}"#), Outcome("")),
        (Some(r#"{"status": "failed"}"#), Outcome("failed")),
        (Some(r#"{"status": "max_attempts_reached", "payload": {}}"#), Outcome("max_attempts_reached")),
        (Some(r#"{"status": 200}"#), Outcome("200")),
        (Some(r#"{"error": "boom"}"#), Failure("boom")),
        (Some(r#"{"error": "boom", "success": true, "status": "succeeded"}"#), Failure("boom")),
        (Some(r#"{"error": "boom", "validation_failure_message": "no address"}"#), Failure("boom")),
        (Some(r#"{"error": true}"#), Failure("true")),
        (Some(r#"{"error": 0}"#), Failure("0")),
        (Some(r#"{"error": 17}"#), Failure("17")),
        (Some(r#"{"error": []}"#), Failure("[]")),
        (Some(r#"{"error": ["a", "b"]}"#), Failure("b")),
        (Some(r#"{"error": {"message": "boom", "code": 7}}"#), Failure("boom")),
        (Some(r#"{"error": {"code": 7}}"#), Failure("code")),
        (Some("42"), Failure("object")),
        (Some(r#""text""#), Failure("object")),
        (Some("true"), Failure("object")),
        (Some("null"), Failure("object")),
        (Some("[]"), Failure("object")),
        (Some(r#"[{"status": "succeeded"}]"#), Failure("object")),
    ];
    let ids: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(case, (result, _))| enqueue(&mut client, "db_function", case, *result))
        .collect();
    let mut wrong = Vec::new();
    for (case, ((result, meaning), id)) in cases.iter().zip(ids).enumerate() {
        let fate = fate(&mut client, id, case);
        let returned = client
            .query_one(
                "select coalesce($1::text, '{}')::jsonb::text = (select payload::text from app.seen where case_number = $2 and what = 'success')",
                &[result, &i32::try_from(case).unwrap()],
            )
            .unwrap()
            .get::<_, Option<bool>>(0);
        let ok = match meaning {
            Success => {
                fate.status == "succeeded"
                    && fate.outcome.is_none()
                    && fate.errors.is_empty()
                    && fate.traces == ["answer", "success"]
                    && returned == Some(true)
            }
            Outcome(told) => {
                fate.status == "succeeded"
                    && fate.outcome.as_deref().is_some_and(|outcome| outcome.contains(told))
                    && fate.errors.is_empty()
                    && fate.traces == ["answer", "success"]
                    && returned == Some(true)
            }
            Failure(told) => {
                fate.status == "failed"
                    && fate.errors.len() == 1
                    && ["db_function", "app.answer", told].iter().all(|part| fate.errors[0].contains(part))
                    && fate.traces.last().is_some_and(|last| last == "error")
                    && !fate.traces.contains(&"success".to_owned())
                    && fate.given.as_deref() == Some(fate.errors[0].as_str())
            }
        };
        if !ok {
            wrong.push((result.map(|result| result.chars().take(100).collect::<String>()), meaning, fate));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_outcome_of_a_db_function_is_logged() {
    let (cluster, mut client) = start();
    let mark = cluster.log_mark();
    let id =
        enqueue(&mut client, "db_function", 0, Some(r#"{"validation_failure_message": "no such street"}"#));
    fate(&mut client, id, 0);
    let line = cluster.wait_log(mark, "no such street");
    for part in [&format!("task_id={id} "), "db_function", "app.answer"] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn only_a_successful_before_handler_with_a_payload_leads_to_a_call() {
    let (_cluster, mut client) = start();
    const SMS: &str = r#"{"message_id": 7, "to_number": "+4930", "body": "hi"}"#;
    let with = |fields: &str| format!(r#"{{{fields}"payload": {SMS}}}"#);
    let cases: Vec<(String, Meaning)> = vec![
        (with(""), Success),
        (with(r#""success": true, "error": null, "validation_failure_message": null, "#), Success),
        (with(r#""success": true, "error": "", "validation_failure_message": "", "#), Success),
        (with(r#""error": false, "#), Success),
        (with(r#""error": {}, "#), Success),
        (with(r#""status": "succeeded", "#), Success),
        (with(r#""error": "boom", "#), Failure("boom")),
        (with(r#""error": true, "#), Failure("true")),
        (with(r#""error": 0, "#), Failure("0")),
        (with(r#""error": {"message": "boom"}, "#), Failure("boom")),
        (with(r#""validation_failure_message": "no number", "#), Failure("no number")),
        (with(r#""success": false, "#), Failure("success")),
        (with(r#""status": "not_found", "#), Failure("not_found")),
        (with(r#""status": "not_found", "success": true, "#), Failure("not_found")),
        ("{}".to_owned(), Failure("payload")),
        (r#"{"success": true}"#.to_owned(), Failure("payload")),
        (r#"{"status": "succeeded"}"#.to_owned(), Failure("payload")),
        (r#"{"payload": null}"#.to_owned(), Failure("payload")),
        (SMS.to_owned(), Failure("payload")),
        (r#"{"payload": {}}"#.to_owned(), Failure("")),
        (r#"{"payload": []}"#.to_owned(), Failure("")),
        (r#"{"payload": "text"}"#.to_owned(), Failure("")),
        (r#"{"payload": {"message_id": 7, "body": "hi"}}"#.to_owned(), Failure("to_number")),
        (
            r#"{"payload": {"message_id": 7, "to_number": 4930, "body": "hi"}}"#.to_owned(),
            Failure("to_number"),
        ),
        (r#"{"payload": {"message_id": 7, "to_number": "+4930"}}"#.to_owned(), Failure("body")),
        (r#"{"payload": {"to_number": "+4930", "body": "hi"}}"#.to_owned(), Failure("message_id")),
        ("42".to_owned(), Failure("object")),
        ("null".to_owned(), Failure("object")),
        ("[]".to_owned(), Failure("object")),
        (r#""text""#.to_owned(), Failure("object")),
    ];
    let ids: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(case, (result, _))| enqueue(&mut client, "sms", case, Some(result)))
        .collect();
    let mut wrong = Vec::new();
    for (case, ((result, meaning), id)) in cases.iter().zip(ids).enumerate() {
        let fate = fate(&mut client, id, case);
        let calls: i64 =
            client.query_one("select count(*) from queues.call where task_id = $1", &[&id]).unwrap().get(0);
        let ok = match meaning {
            Success => {
                fate.status == "succeeded"
                    && fate.errors.is_empty()
                    && fate.traces == ["answer", "success"]
                    && fate.given.as_deref() == Some(r#"{"status": "sent", "message_id": "sms_7"}"#)
                    && calls == 1
            }
            Outcome(_) => unreachable!("a before_handler has no such outcome"),
            Failure(told) => {
                fate.status == "failed"
                    && fate.errors.len() == 1
                    && ["sms", "before_handler", "app.answer", told]
                        .iter()
                        .all(|part| fate.errors[0].contains(part))
                    && fate.traces.last().is_some_and(|last| last == "error")
                    && !fate.traces.contains(&"success".to_owned())
                    && fate.given.as_deref() == Some(fate.errors[0].as_str())
                    && calls == 0
            }
        };
        if !ok {
            wrong.push((result, meaning, fate, calls));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_before_handler_that_raises_or_is_missing_leads_to_no_call() {
    let (_cluster, mut client) = start();
    for (case, payload, told) in [
        (
            0,
            json!({"before_handler": "app.answer", "raise": "not today", "case": 0, "error_handler": "app.on_error"}),
            "not today",
        ),
        (1, json!({"case": 1, "error_handler": "app.on_error"}), "before_handler"),
        (2, json!({"before_handler": null, "case": 2, "error_handler": "app.on_error"}), "before_handler"),
        (
            3,
            json!({"before_handler": "app.absent", "case": 3, "error_handler": "app.on_error"}),
            "app.absent",
        ),
        // SQL null counts as {}, which has no payload.
        (4, json!({"before_handler": "app.answer", "case": 4, "error_handler": "app.on_error"}), "payload"),
    ] {
        for task_type in ["sms", "email"] {
            client.batch_execute("truncate app.seen").unwrap();
            let sql = "select queues.enqueue($1, $2)";
            let id: i64 = client.query_one(sql, &[&task_type, &payload]).unwrap().get(0);
            let fate = fate(&mut client, id, case);
            assert_eq!((fate.status.as_str(), fate.errors.len()), ("failed", 1), "{fate:?}");
            assert!(fate.errors[0].contains(task_type) && fate.errors[0].contains(told), "{fate:?}");
            assert_eq!(fate.traces.last().map(String::as_str), Some("error"), "{fate:?}");
            let calls = "select count(*) from queues.call where task_id = $1";
            assert_eq!(client.query_one(calls, &[&id]).unwrap().get::<_, i64>(0), 0, "{payload}");
        }
    }
}

#[test]
fn the_simulated_provider_logs_what_it_would_have_sent() {
    let (cluster, mut client) = start();
    let mark = cluster.log_mark();
    let sms = r#"{"payload": {"message_id": "m-42", "to_number": "+4930", "body": "hi"}}"#;
    let id = enqueue(&mut client, "sms", 0, Some(sms));
    let fate = fate(&mut client, id, 0);
    assert_eq!(fate.given.as_deref(), Some(r#"{"status": "sent", "message_id": "sms_m-42"}"#));
    let line = cluster.wait_log(mark, "m-42");
    assert!(line.contains("simulated"), "{line}");
}

#[test]
fn what_is_not_successful_is_a_failure_where_the_setting_says_so() {
    let (cluster, mut client) = start();
    let cases = [
        (r#"{"status": "failed"}"#, "status failed"),
        (r#"{"success": false}"#, "success is false"),
        (r#"{"validation_failure_message": "no amount"}"#, "no amount"),
    ];
    for (case, (result, said)) in cases.into_iter().enumerate() {
        let task_id = enqueue(&mut client, "db_function", case, Some(result));
        let fate = fate(&mut client, task_id, case);
        assert_eq!((&*fate.status, fate.outcome.as_deref()), ("succeeded", Some(said)));
        assert_eq!(fate.traces, ["answer", "success"]);
    }
    cluster.set(&[("pg_errand.unsuccessful_is_failure", "on")]);
    // The worker reads it at a boundary of tasks.
    eventually("the setting counts", || {
        let task_id = enqueue(&mut client, "db_function", 99, Some(r#"{"status": "failed"}"#));
        fate(&mut client, task_id, 99).status == "failed"
    });
    for (case, (result, said)) in (10..).zip(cases) {
        let task_id = enqueue(&mut client, "db_function", case, Some(result));
        let fate = fate(&mut client, task_id, case);
        assert_eq!((&*fate.status, fate.outcome), ("failed", None));
        assert_eq!(fate.errors, [format!("db_function app.answer: {said}")]);
        assert_eq!(fate.traces, ["answer", "error"]);
    }
    for (case, result) in (20..).zip(["{}", r#"{"status": "succeeded"}"#, r#"{"success": true}"#]) {
        let task_id = enqueue(&mut client, "db_function", case, Some(result));
        assert_eq!(fate(&mut client, task_id, case).status, "succeeded");
    }
}
