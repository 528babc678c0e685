//! The log as JSON: lines about tasks and calls have an object of their fields as detail.

use std::fs;

use serde_json::{Value, json};

use crate::harness::calling::Calling;
use crate::harness::cluster::Cluster;
use crate::harness::handlers::{Gate, install, task};
use crate::harness::queue::wait_status;
use crate::harness::wait::eventually;

const JSON_LOG: [(&str, &str); 4] = [
    ("log_destination", "stderr,jsonlog"),
    ("logging_collector", "on"),
    ("pg_errand.log_level", "debug"),
    ("pg_errand.concurrency", "1"),
];
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The lines of the log as JSON. The last line may be incomplete.
fn lines(cluster: &Cluster) -> Vec<Value> {
    let files = fs::read_dir(cluster.data_dir().join("log")).into_iter().flatten().filter_map(Result::ok);
    let paths =
        files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "json"));
    paths
        .flat_map(|path| {
            let text = fs::read_to_string(path).unwrap();
            text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<Value>>()
        })
        .collect()
}

/// Waits for a line whose detail has these fields; returns its message, and the detail.
fn wait_line(cluster: &Cluster, fields: &Value) -> (String, Value) {
    eventually(&format!("a line with {fields}"), || {
        lines(cluster).into_iter().find_map(|line| {
            let detail: Value = line["detail"].as_str()?.parse().ok()?;
            let wanted = fields.as_object().unwrap();
            let is_it = wanted.iter().all(|(name, value)| detail[name] == *value);
            is_it.then(|| (line["message"].as_str().unwrap_or_default().to_owned(), detail))
        })
    })
}

#[test]
fn lines_about_tasks_have_their_fields_as_json() {
    let cluster = Cluster::start(&JSON_LOG);
    let mut client = install(&cluster, "postgres");
    let succeeded = task(&mut client, "note", json!({"traceparent": TRACE}));
    wait_status(&mut client, succeeded, "succeeded");
    let (message, detail) = wait_line(&cluster, &json!({"event": "task succeeded", "task_id": succeeded}));
    assert!(message.starts_with(&format!("pg_errand: task succeeded task_id={succeeded} ")), "{message}");
    assert!(!message.contains('\n'), "{message}");
    assert_eq!(
        (&detail["task_type"], &detail["handler"], &detail["attempt"], &detail["traceparent"]),
        (&json!("db_function"), &json!("public.note"), &json!(1), &json!(TRACE))
    );
    assert!(detail["duration_ms"].is_u64(), "{detail}");

    let failed = task(&mut client, "refuse", json!({"label": "a \"b\"\nc"}));
    wait_status(&mut client, failed, "failed");
    let (_, error) = wait_line(&cluster, &json!({"event": "error", "task_id": failed}));
    let text = error["message"].as_str().unwrap();
    assert!(text.contains("a \"b\"\nc") && error["sqlstate"].as_str().unwrap().len() == 5, "{error}");
    wait_line(&cluster, &json!({"event": "task failed", "task_id": failed}));

    let gate = Gate::close(&cluster, "postgres", 1);
    let cancelled = task(&mut client, "gate", json!({"gate": 1}));
    wait_status(&mut client, cancelled, "running");
    client.execute("select queues.cancel($1)", &[&cancelled]).unwrap();
    gate.open();
    wait_line(&cluster, &json!({"event": "task cancelled", "task_id": cancelled}));
}

#[test]
fn lines_about_calls_have_their_fields_as_json() {
    let mut calling = Calling::friendly(&JSON_LOG);
    calling.register("it", json!({}));
    let id = calling.succeed("it", json!({"path": "/x", "body": {"a": 1}}));
    for event in ["call started", "call ended", "call response", "task succeeded"] {
        wait_line(&calling.cluster, &json!({"event": event, "task_id": id}));
    }
    let (_, ended) = wait_line(&calling.cluster, &json!({"event": "call ended", "task_id": id}));
    assert_eq!(
        (&ended["provider"], &ended["status"], &ended["result"]),
        (&json!("it"), &json!(200), &json!("succeeded"))
    );
}

#[test]
fn the_text_log_has_no_json_beside_it_unless_jsonlog_is_on() {
    let cluster = Cluster::start(&[("pg_errand.log_level", "debug")]);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "note", json!({}));
    wait_status(&mut client, id, "succeeded");
    cluster.wait_log(0, &format!("task succeeded task_id={id} "));
    assert!(!cluster.log().contains("\"event\""), "{}", cluster.log());
}
