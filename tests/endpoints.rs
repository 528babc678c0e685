//! Requests and credentials go to the provider's current address, below its base URL, and nowhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::{Value, json};
use standin::{Answer, Behaviour, Request, Web};

use crate::harness::calling::{Calling, ok};
use crate::harness::mailing::Mailing;
use crate::harness::queue;
use crate::harness::wait::eventually;

const OLD_KEY: (&str, &str) = ("pg_errand.secrets", r#"{"key": "the-old-key"}"#);
const NEW_KEY: (&str, &str) = ("pg_errand.secrets", r#"{"key": "the-new-key", "other": "the-other-key"}"#);

/// Says "wait a second" while `closed`.
fn door(closed: &Arc<AtomicBool>) -> impl FnMut(&Request) -> Answer + Send + use<> {
    let closed = closed.clone();
    move |_| match closed.load(SeqCst) {
        true => Answer::json(429, &json!({"message": "not so fast"})).with("Retry-After", "1"),
        false => ok(),
    }
}

/// A cluster with a provider `api` that has a key, and a task whose request waits since the provider said so.
fn waiting() -> (Calling, Arc<AtomicBool>, i64) {
    let closed = Arc::new(AtomicBool::new(true));
    let mut calling = Calling::start(&[OLD_KEY], door(&closed));
    calling.register("api", json!({"auth": "bearer", "secret": "key"}));
    let task_id = calling.call("api", json!({"path": "/x", "body": {"n": 1}}));
    calling.cluster.wait_log(0, "call postponed");
    (calling, closed, task_id)
}

/// Who the requests so far said they come from, each once.
fn keys(web: &Web) -> Vec<String> {
    let all = web.requests();
    let mut keys: Vec<_> = all
        .iter()
        .map(|exchange| exchange.request.header("Authorization").unwrap_or("").to_owned())
        .collect();
    keys.dedup();
    keys
}

#[test]
fn a_new_key_is_not_sent_to_where_its_provider_was() {
    let (mut calling, closed, task_id) = waiting();
    let elsewhere = Web::start(|_| ok()).unwrap();
    calling
        .client
        .execute("update queues.provider set base_url = $1 where name = 'api'", &[&elsewhere.url()])
        .unwrap();
    calling.cluster.set(&[NEW_KEY]);
    closed.store(false, SeqCst);
    let error = calling.error(task_id);
    for part in ["\"api\"", "base URL", "changed", &calling.web.url(), &elsewhere.url(), "not sent"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("-key"), "{error}");
    assert_eq!((keys(&calling.web), elsewhere.requests().len()), (vec!["Bearer the-old-key".to_owned()], 0));
}

#[test]
fn a_key_that_was_replaced_goes_with_what_waits_for_the_same_host() {
    let (mut calling, closed, task_id) = waiting();
    calling.cluster.set(&[NEW_KEY]);
    calling.client.execute("update queues.provider set secret = 'other' where name = 'api'", &[]).unwrap();
    closed.store(false, SeqCst);
    calling.wait(task_id, "succeeded");
    assert_eq!(keys(&calling.web).last().map(String::as_str), Some("Bearer the-other-key"));
}

#[test]
fn what_waits_for_a_provider_that_is_gone_or_speaks_otherwise_is_not_sent() {
    for (change, part) in [
        (
            "delete from queues.task_definition where task_type = 'api'; delete from queues.provider where name = 'api'",
            "there is no provider \"api\"",
        ),
        ("update queues.provider set interface = 'resend' where name = 'api'", "from http to resend"),
    ] {
        let (mut calling, closed, task_id) = waiting();
        calling.client.batch_execute(change).unwrap();
        let sent = calling.web.requests().len();
        closed.store(false, SeqCst);
        let error = calling.error(task_id);
        assert!(error.contains(part) && error.contains("not sent"), "{error}");
        let after = calling.web.requests();
        assert!(after[sent..].iter().all(|exchange| exchange.status == Some(429)), "{after:?}");
    }
}

#[test]
fn a_call_that_is_taken_over_is_not_sent_to_where_its_provider_was() {
    let (mut calling, closed, task_id) = waiting();
    let elsewhere = Web::start(|_| ok()).unwrap();
    let client = &mut calling.client;
    let worker = queue::workers(client)[0].pid;
    let change = format!("update queues.provider set base_url = '{}' where name = 'api'", elsewhere.url());
    client.batch_execute(&format!("begin; {change}; select pg_terminate_backend({worker}); commit")).unwrap();
    closed.store(false, SeqCst);
    let error = calling.error(task_id);
    assert!(error.contains("base URL") && error.contains("not sent"), "{error}");
    assert_eq!(elsewhere.requests().len(), 0);
    assert!(calling.web.requests().iter().all(|exchange| exchange.status == Some(429)));
}

#[test]
fn a_mail_that_waits_is_not_sent_to_where_the_setting_pointed() {
    let mut mailing = Mailing::start(&[]);
    let mut first = Some(Behaviour::retry_after(1));
    mailing.standin.behave(move |_| first.take());
    let task_id = mailing.send("someone@mail.test");
    mailing.cluster.wait_log(0, "call postponed");
    let elsewhere = Web::start(|_| ok()).unwrap();
    mailing
        .cluster
        .set(&[("pg_errand.resend_base_url", &elsewhere.url()), ("pg_errand.resend_api_key", "re_new_key")]);
    mailing.wait(task_id, "failed");
    let errors = queue::errors(&mut mailing.client, task_id);
    assert!(errors[0].error_message.contains("not sent"), "{errors:?}");
    assert_eq!((mailing.standin.mail_count(), elsewhere.requests().len()), (0, 0));
}

#[test]
fn a_value_in_the_path_of_a_template_does_not_lead_out_of_it() {
    let mut calling = Calling::friendly(&[]);
    calling.register("users", json!({"request": {"path": "/users/{{id}}/mail", "query": {"q": "{{q}}"}}}));
    let request = |id: &Value| json!({"id": id, "q": "../&x=1#"});
    for id in [
        "..",
        "../admin",
        "..%2fadmin",
        "..%252fadmin",
        "%2e%2e",
        "..;",
        "..;x=1",
        "..%5c",
        "\\",
        "",
        "a/b",
        "x\u{1}",
    ] {
        let error = calling.fail("users", request(&json!(id)));
        assert!(error.contains("path"), "{id:?}: {error}");
    }
    assert_eq!(calling.web.requests().len(), 0);
    for (id, path) in [(json!("a b?c#d"), "/users/a%20b%3Fc%23d/mail"), (json!(7), "/users/7/mail")] {
        calling.succeed("users", request(&id));
        let target = calling.web.requests().last().unwrap().request.target.clone();
        assert_eq!(target, format!("{path}?q=..%2F%26x%3D1%23"));
    }
}

#[test]
fn a_path_in_a_payload_does_not_lead_out_of_the_base_url_in_any_spelling() {
    let mut calling = Calling::friendly(&[]);
    calling.register("api", json!({}));
    for path in [
        "/../x",
        "/..%2fadmin",
        "/%2e%2e/x",
        "/..;/x",
        "/..%5cx",
        "//evil.test/x",
        "/a//b",
        "/%00",
        "@evil.test/",
        "/a%",
    ] {
        let error = calling.fail("api", json!({"path": path}));
        assert!(error.contains("path"), "{path}: {error}");
    }
    assert_eq!(calling.web.requests().len(), 0);
    eventually("a plain path passes", || {
        calling.succeed("api", json!({"path": "/a/b/?x=//..%2f"}));
        calling.web.requests().len() == 1
    });
}
