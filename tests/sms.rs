//! Text messages with the simulated provider.

use serde_json::{Value, json};

use crate::harness::mailing::Mailing;
use crate::harness::queue;
use crate::harness::wait::eventually;

fn task(sms: &Value) -> Value {
    json!({
        "task_type": "sms", "before_handler": "app.build", "success_handler": "app.on_success",
        "error_handler": "app.on_error", "mail": sms,
    })
}

#[test]
fn the_simulated_provider_takes_every_message_and_names_its_id() {
    let mut mailing = Mailing::start(&[("pg_errand.log_level", "debug")]);
    for message_id in [json!(4711), json!("order-12")] {
        let payload =
            task(&json!({"message_id": message_id, "to_number": "+4915112345678", "body": "Hi 🦀"}));
        let task_id = queue::enqueue(&mut mailing.client, "sms", payload.clone());
        mailing.wait(task_id, "succeeded");
        let id = format!("sms_{}", message_id.to_string().trim_matches('"'));
        let expected = json!({
            "original_payload": payload, "worker_payload": {"message_id": id, "status": "sent"},
        });
        assert_eq!(mailing.seen("success").pop(), Some(expected));
        mailing.cluster.wait_log(0, &format!("task succeeded task_id={task_id} task_type=sms"));
    }
    assert!(mailing.standin.requests().is_empty() && mailing.seen("error").is_empty());
}

#[test]
fn the_simulated_provider_logs_number_and_text_at_info() {
    let mut mailing = Mailing::start(&[]);
    let text = "Your code is 482913.\nDo not tell it: \"482913\"";
    let payload = task(&json!({"message_id": 815, "to_number": "+4915112345678", "body": text}));
    let task_id = queue::enqueue(&mut mailing.client, "sms", payload.clone());
    mailing.wait(task_id, "succeeded");
    let line = mailing.cluster.wait_log(0, "not sent, only logged");
    for part in
        [&format!("task_id={task_id} "), "\"+4915112345678\"", "Your code is 482913.\\nDo not tell it"]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    mailing.cluster.set(&[("pg_errand.log_level", "warning")]);
    eventually("the setting counts", || {
        let mark = mailing.cluster.log_mark();
        let task_id = queue::enqueue(&mut mailing.client, "sms", payload.clone());
        queue::wait_status(&mut mailing.client, task_id, "succeeded");
        !mailing.cluster.log_since(mark).contains("482913")
    });
}

#[test]
fn an_unknown_field_of_a_message_is_refused_with_the_right_name() {
    let mut mailing = Mailing::start(&[]);
    for (field, said) in [
        ("messaging_service_sid", "no field messaging_service_sid; did you mean from_number?"),
        ("mediaUrl", "no field mediaUrl; did you mean media_url?"),
        ("send_at", "no field send_at; it may have message_id, to_number, body"),
    ] {
        let mut sms = json!({"message_id": 1, "to_number": "+4915112345678", "body": "Hi"});
        sms[field] = json!("x");
        let task_id = queue::enqueue(&mut mailing.client, "sms", task(&sms));
        let message = mailing.error(task_id);
        assert!(message.contains(said) && message.contains("app.build"), "{field}: {message}");
        sms[field] = Value::Null;
        let task_id = queue::enqueue(&mut mailing.client, "sms", task(&sms));
        mailing.wait(task_id, "succeeded");
    }
}

#[test]
fn a_message_that_cannot_be_built_is_not_sent() {
    let mut mailing = Mailing::start(&[]);
    for (field, value) in [
        ("to_number", Value::Null),
        ("to_number", json!(49)),
        ("body", Value::Null),
        ("body", json!(["x"])),
        ("message_id", Value::Null),
    ] {
        let mut sms = json!({"message_id": 1, "to_number": "+4915112345678", "body": "Hi"});
        sms[field] = value;
        let payload = task(&sms);
        let task_id = queue::enqueue(&mut mailing.client, "sms", payload.clone());
        let message = mailing.error(task_id);
        assert!(message.contains(field) && message.contains("sms"), "{field}: {message}");
        let expected = json!({"original_payload": payload, "error": message});
        assert_eq!(mailing.seen("error").pop(), Some(expected));
    }
    let missing = queue::enqueue(&mut mailing.client, "sms", json!({"task_type": "sms"}));
    assert!(mailing.error(missing).contains("before_handler"));
    let mut raising = task(&json!({}));
    raising["before_handler"] = json!("app.raises");
    let task_id = queue::enqueue(&mut mailing.client, "sms", raising);
    assert!(mailing.error(task_id).contains("this handler always raises"));
    assert!(mailing.seen("success").is_empty());
}
