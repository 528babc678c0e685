//! Requests, connections and what is remembered of them.

use serde_json::json;

use super::*;

#[test]
fn a_mail_is_taken_and_remembered() {
    let standin = start();
    let got = post_with_key(&standin, &mail(), "k1");
    assert_eq!(got.status, 200);
    let mails = standin.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(got.json(), json!({"id": mails[0].id}));
    assert_eq!(mails[0].body, mail());
    assert_eq!(mails[0].idempotency_key.as_deref(), Some("k1"));
    assert_eq!(mails[0].user_agent, "test/1");
    assert_eq!((mails[0].to(), mails[0].subject()), (vec!["ann@mail.dev"], "Hello"));
    standin.clear();
    assert!(standin.mails().is_empty() && standin.requests().is_empty());
}

#[test]
fn connections_are_kept_and_can_be_closed() {
    let standin = start();
    let mut client = Client::new(&standin.url());
    for _ in 0..2 {
        client.send(&GOOD, &mail().to_string());
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!(standin.connections(), 1);
    assert!(standin.mails().iter().all(|mail| mail.connection == 1));
    assert_eq!(standin.requests()[1].request.earlier_on_connection, 1);
    standin.close_idle_connections();
    assert_eq!(client.rest().unwrap(), b"");
    standin.hang_up_on(1);
    assert!(matches!(Client::new(&standin.url()).rest().as_deref(), Ok(b"") | Err(_)));
    assert_eq!(post(&standin, &mail()).status, 200);
}

#[test]
fn chunked_and_expecting_requests_are_read() {
    let standin = start();
    let mut client = Client::new(&standin.url());
    let body = mail().to_string();
    let (head, tail) = body.split_at(10);
    let chunks = format!("{:x}\r\n{head}\r\n{:x}\r\n{tail}\r\n0\r\n\r\n", head.len(), tail.len());
    let text = String::from_utf8(request("POST /emails", &GOOD, &chunks)).unwrap();
    let length = format!("Content-Length: {}", chunks.len());
    client.send_raw(text.replace(&length, "Transfer-Encoding: chunked").as_bytes());
    assert_eq!(client.answer().status, 200);
    client.send(&[&GOOD[..], &[("Expect", "100-continue")]].concat(), &body);
    let mut go_on = [0; 25];
    client.0.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.answer().status, 200);
}

#[test]
fn what_is_no_http_is_refused() {
    let standin = start();
    let mut client = Client::new(&standin.url());
    client.send_raw(b"\x16\x03\x01 hello\r\n\r\n");
    assert_eq!(client.answer().status, 400);
}

#[test]
fn a_raw_server_does_as_it_is_told() {
    let server = RawServer::start(|request| match request.target.as_str() {
        "/odd" => Behaviour::raw("SMTP ready\r\n", End::Close),
        _ => Behaviour::usual(),
    })
    .unwrap();
    let mut client = Client::new(&server.url());
    client.send_raw(&request("PUT /any", &[], "x"));
    assert_eq!((client.answer().status, server.connections()), (200, 1));
    server.hold();
    client.send_raw(&request("GET /odd", &[], ""));
    until(|| server.held() == 1);
    server.release();
    assert_eq!(client.rest().unwrap(), b"SMTP ready\r\n");
    assert_eq!(
        server.requests().iter().map(|exchange| exchange.status).collect::<Vec<_>>(),
        [Some(200), None]
    );
}

#[test]
fn only_loopback_addresses_are_listened_on() {
    let everywhere = Options { listen: "0.0.0.0:0".parse().unwrap(), ..Options::default() };
    assert!(Standin::start(everywhere).is_err());
}
