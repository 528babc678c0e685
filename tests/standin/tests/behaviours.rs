//! Misbehaviour.

use super::*;

#[test]
fn broken_answers_come_as_the_recipient_asks() {
    let standin = start();
    let cases: [(&str, &[u8]); 6] = [
        ("close", b""),
        ("half-head", b"HTTP/1.1 200 OK\r\nContent-Ty"),
        ("invalid-json", b"oops"),
        ("invalid-utf8", b"\xff\xfe"),
        ("nul", b"\\u0000"),
        ("truncated", b"{\"id\":\"4ef9"),
    ];
    for (name, part) in cases {
        let mut client = Client::new(&standin.url());
        let headers = [&GOOD[..], &[("Connection", "close")]].concat();
        client.send(&headers, &mail_to(&format!("{name}@behave.test")).to_string());
        let bytes = client.rest().unwrap();
        let found = part.is_empty() && bytes.is_empty()
            || bytes.windows(part.len().max(1)).any(|window| window == part);
        assert!(found, "{name}: {}", String::from_utf8_lossy(&bytes));
    }
    assert_eq!(standin.mails().len(), cases.len());
}

#[test]
fn statuses_come_as_the_recipient_asks() {
    let standin = start();
    assert_eq!(post(&standin, &mail_to("status-500@behave.test")).name(), "application_error");
    assert!(post(&standin, &mail_to("html-502@behave.test")).head.contains("text/html"));
    let patient = mail_to("retry-after-2@behave.test");
    let statuses = [1, 2].map(|_| post_with_key(&standin, &patient, "k").status);
    assert_eq!(statuses, [429, 200]);
    assert_eq!(post(&standin, &mail_to("huge-100000@behave.test")).body.len(), 100_009);
    let echoed = post(&standin, &mail_to("echo-key@behave.test"));
    assert!(echoed.json()["message"].as_str().unwrap().contains(KEY));
}

#[test]
fn a_reset_is_a_reset() {
    let standin = start();
    let mut client = Client::new(&standin.url());
    client.send(&GOOD, &mail_to("reset@behave.test").to_string());
    assert_eq!(client.rest().unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn never_ends_when_the_client_leaves() {
    let standin = start();
    let mut client = Client::new(&standin.url());
    client.send(&GOOD, &mail_to("never@behave.test").to_string());
    until(|| standin.mails().len() == 1);
    assert_eq!(standin.open_connections(), 1);
    drop(client);
    until(|| standin.open_connections() == 0);
}

#[test]
fn endless_answers_end_with_the_client() {
    let standin = start();
    for recipient in ["endless@behave.test", "endless-head@behave.test"] {
        let mut client = Client::new(&standin.url());
        client.send(&GOOD, &mail_to(recipient).to_string());
        let mut million = vec![0; 1_000_000];
        client.0.read_exact(&mut million).unwrap();
    }
    until(|| standin.open_connections() == 0);
}

#[test]
fn a_delay_for_all_spares_those_that_ask_for_their_own() {
    let delayed = |delay| Standin::start(Options { delay, ..Options::default() }).unwrap();
    let begun = Instant::now();
    assert_eq!(post(&delayed(Duration::from_millis(50)), &mail()).status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(50));
    let never = delayed(Duration::from_hours(1));
    assert_eq!(post(&never, &mail_to("delay-1@behave.test")).status, 200);
}

#[test]
fn delays_and_drips_take_their_time() {
    let standin = start();
    let started = Instant::now();
    assert_eq!(post(&standin, &mail_to("delay-50@behave.test")).status, 200);
    assert!(started.elapsed() >= Duration::from_millis(50));
    let started = Instant::now();
    assert_eq!(post(&standin, &mail_to("drip-1@behave.test")).status, 200);
    assert!(started.elapsed() >= Duration::from_millis(100));
}

#[test]
fn one_mail_can_be_held() {
    let standin = start();
    let mut client = Client::new(&standin.url());
    client.send(&GOOD, &mail_to("hold@behave.test").to_string());
    until(|| standin.held() == 1);
    assert_eq!(post(&standin, &mail()).status, 200);
    standin.release();
    assert_eq!(client.answer().status, 200);
}
