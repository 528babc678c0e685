//! Idempotency keys.

use super::*;

#[test]
fn a_repeat_gets_the_first_answer() {
    let standin = start();
    let first = post_with_key(&standin, &mail(), "k");
    let second = post_with_key(&standin, &mail(), "k");
    assert_eq!((second.status, second.json()), (200, first.json()));
    assert_eq!(standin.mails().len(), 1);
    let other = post_with_key(&standin, &mail_to("b@b.co"), "k");
    assert_eq!((other.status, other.name().as_str()), (409, "invalid_idempotent_request"));
    standin.forget_keys();
    assert_eq!(post_with_key(&standin, &mail_to("b@b.co"), "k").status, 200);
}

#[test]
fn a_repeat_waits_for_its_turn() {
    let standin = start();
    standin.hold();
    let mut first = Client::new(&standin.url());
    first.send(&with_key("k"), &mail().to_string());
    until(|| standin.held() == 1);
    let mut second = Client::new(&standin.url());
    second.send(&with_key("k"), &mail().to_string());
    until(|| standin.held() == 2);
    standin.release();
    assert_eq!(first.answer().status, 200);
    assert_eq!(second.answer().name(), "concurrent_idempotent_requests");
    assert_eq!(post_with_key(&standin, &mail(), "k").status, 200);
}

#[test]
fn a_refused_mail_leaves_no_trace() {
    let standin = start();
    standin.behave(|mail| mail.is_first().then(|| Behaviour::retry_after(1)));
    let refused = post_with_key(&standin, &mail(), "k");
    assert!(refused.status == 429 && refused.head.contains("Retry-After: 1\r\n"));
    assert!(standin.mails().is_empty());
    assert_eq!(post_with_key(&standin, &mail(), "k").status, 200);
    assert_eq!(standin.mails().len(), 1);
}

#[test]
fn a_lost_answer_is_still_a_mail() {
    let standin = start();
    standin.behave(|mail| mail.is_first().then(Behaviour::close));
    let mut client = Client::new(&standin.url());
    client.send(&with_key("k"), &mail().to_string());
    assert_eq!(client.rest().unwrap(), b"");
    let repeat = post_with_key(&standin, &mail(), "k");
    assert_eq!(repeat.json()["id"], standin.mails()[0].id.as_str());
    assert_eq!(standin.mails().len(), 1);
}
