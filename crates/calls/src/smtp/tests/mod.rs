mod server;

use super::*;
use crate::credential::{Credential, Placed};
use crate::request::{MailServer, SmtpTls};
use crate::response::RECIPIENT;
use crate::spawn::plainly as spawn;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::generate_simple_self_signed;
use server::{LONG, Quirk, Server};
use std::net::IpAddr;
use std::thread::sleep;

fn client() -> Client {
    Client::new(spawn)
}

fn said(response: Result<Response, String>) -> (u16, String) {
    let response = response.unwrap();
    let recipient =
        response.header(RECIPIENT).map(|address| format!(" (recipient {address})")).unwrap_or_default();
    (response.status, String::from_utf8(response.body).unwrap() + &recipient)
}

#[test]
fn a_greeting_may_take_the_time_of_the_call() {
    let server = Server::start(Quirk::GreetsAfter(Duration::from_secs(4)));
    let look_up = |_: &str| Ok((1..=4).map(|n| IpAddr::from([127, 0, 0, n])).collect());
    let client = Client { opener: Opener::new(look_up, spawn), kept: Mutex::default() };
    let of = MailServer { host: "x.test".into(), port: server.port, tls: SmtpTls::None };
    let response = server.send_to(&client, of, Duration::from_secs(12), vec![], None);
    assert_eq!(said(response), (250, "2.0.0 queued".into()));
}

#[test]
fn a_mail_arrives_as_it_is() {
    let (server, client) = (Server::start(Quirk::None), client());
    assert_eq!(said(server.send(&client, LONG, vec![])), (250, "2.0.0 queued".into()));
    assert_eq!(
        server.read()[2..],
        [
            "MAIL FROM:<a@x.test>",
            "RCPT TO:<b@x.test>",
            "RCPT TO:<c@x.test>",
            "DATA",
            "Subject: s",
            "",
            "..dot",
            "end",
            "."
        ]
    );
}

#[test]
fn a_connection_is_kept_for_the_same_user() {
    let (server, client) = (Server::start(Quirk::None), client());
    said(server.send(&client, LONG, vec![]));
    server.read();
    said(server.send(&client, LONG, vec![]));
    assert_eq!(server.read()[0], "MAIL FROM:<a@x.test>");
    said(server.send(&client, LONG, vec![login()]));
    assert_eq!(server.read()[0], "#");
    client.kept().iter_mut().for_each(|kept| kept.since -= MAX_IDLE);
    client.close_idle();
    assert!(client.kept().is_empty());
}

#[test]
fn a_dead_kept_connection_is_replaced() {
    let (server, client) = (Server::start(Quirk::OneMail), client());
    for _ in 0..3 {
        assert_eq!(said(server.send(&client, LONG, vec![])).0, 250);
        sleep(Duration::from_millis(20));
    }
    assert_eq!(server.read().iter().filter(|line| *line == "#").count(), 3);
}

fn login() -> Credential {
    Credential {
        placed: Placed::Login { user: "u".into(), password: "secret".into() },
        secrets: vec!["secret".into()],
    }
}

#[test]
fn the_user_logs_in() {
    let (server, client) = (Server::start(Quirk::None), client());
    said(server.send(&client, LONG, vec![login()]));
    assert!(server.read().contains(&format!("AUTH PLAIN {}", BASE64_STANDARD.encode("\0u\0secret"))));
    let refused = Server::start(Quirk::Says("AUTH", "535 5.7.8 who are you?"));
    assert_eq!(said(refused.send(&client, LONG, vec![login()])), (535, "5.7.8 who are you?".into()));
    assert!(!refused.read().iter().any(|line| line.starts_with("MAIL")));
}

#[test]
fn nothing_goes_to_a_server_that_cannot_encrypt() {
    let (server, client) = (Server::start(Quirk::None), client());
    let of = |tls| MailServer { host: "127.0.0.1".into(), port: server.port, tls };
    let response = server.send_to(&client, of(SmtpTls::Starttls), LONG, vec![login()], None);
    assert!(response.unwrap_err().contains("STARTTLS"));
    assert!(!server.read().iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")));
    assert!(server.send_to(&client, of(SmtpTls::Tls), LONG, vec![login()], None).is_err());
}

#[test]
fn mail_and_password_go_encrypted_to_whom_is_trusted() {
    let certificate = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let file = std::env::temp_dir().join(format!("pg_errand-{}.pem", uuid::Uuid::new_v4()));
    std::fs::write(&file, certificate.cert.pem()).unwrap();
    for tls in [SmtpTls::Starttls, SmtpTls::Tls] {
        for ca_file in [Some(file.to_str().unwrap().to_owned()), None] {
            let (server, client) = (Server::start_encrypted(&certificate, tls), client());
            let of = MailServer { host: "127.0.0.1".into(), port: server.port, tls };
            let is_trusted = ca_file.is_some();
            let response = server.send_to(&client, of, LONG, vec![login()], ca_file);
            assert_eq!(response.is_ok_and(|response| response.status == 250), is_trusted, "{tls:?}");
            let lines = server.read();
            let place = |start: &str| lines.iter().position(|line| line.starts_with(start));
            assert_eq!(place("AUTH").is_some(), is_trusted);
            assert!(place("AUTH").is_none_or(|auth| place("encrypted").is_some_and(|tls| tls < auth)));
        }
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn refusals_are_replies() {
    for (command, answer, expected) in [
        ("RCPT TO:<c", "550 5.1.1 no such user", (550, "5.1.1 no such user (recipient c@x.test)".to_owned())),
        ("MAIL", "451 later", (451, "later".to_owned())),
        (".", "554 spam", (554, "spam".to_owned())),
    ] {
        let (server, client) = (Server::start(Quirk::Says(command, answer)), client());
        assert_eq!(said(server.send(&client, LONG, vec![])), expected);
        assert!(client.kept().is_empty());
    }
}

#[test]
fn a_server_that_hangs_costs_no_more_than_the_limit() {
    for command in ["EHLO", "MAIL", "DATA", "."] {
        let (server, client) = (Server::start(Quirk::Hangs(command)), client());
        let start = Instant::now();
        let error = server.send(&client, Duration::from_millis(400), vec![]).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(2), "{command}");
        let expected = if command == "." { "outcome unknown" } else { "within 400 ms" };
        assert!(error.contains(expected), "{command}: {error}");
    }
}

#[test]
fn the_outcome_is_unknown_only_once_the_mail_has_begun() {
    for (command, is_unknown) in [("MAIL", false), ("DATA", false), (".", true)] {
        let (server, client) = (Server::start(Quirk::Drops(command)), client());
        let error = server.send(&client, LONG, vec![]).unwrap_err();
        assert_eq!(error.contains("outcome unknown"), is_unknown, "{command}: {error}");
    }
}

#[test]
fn a_reply_that_does_not_end_is_not_read_to_its_end() {
    for (command, is_unknown) in [("EHLO", false), ("MAIL", false), ("DATA", false), (".", true)] {
        for (bytes, reason) in
            [("250 xxxxxxxxxxxxxxxx", "longer than 4096 bytes"), ("250-more\r\n", "larger than 65536 bytes")]
        {
            let (server, client) = (Server::start(Quirk::Repeats(command, bytes, Duration::ZERO)), client());
            let error = server.send(&client, LONG, vec![]).unwrap_err();
            assert!(error.contains(reason), "{command}: {error}");
            assert_eq!(error.contains("outcome unknown"), is_unknown, "{command}: {error}");
        }
    }
}

#[test]
fn a_server_that_drips_costs_no_more_than_the_limit() {
    let pause = Duration::from_millis(50);
    for command in ["EHLO", "AUTH", "MAIL", "RCPT", "DATA", "."] {
        for bytes in ["2", "250-more\r\n"] {
            let (server, client) = (Server::start(Quirk::Repeats(command, bytes, pause)), client());
            let error = server.send(&client, Duration::from_millis(300), vec![login()]).unwrap_err();
            let expected = if command == "." { "no response in time" } else { "within 300 ms" };
            assert!(error.contains(expected), "{command}: {error}");
            // The connection is closed, so that the server notices.
            assert!(server.lines.iter().any(|line| line == "gone"), "{command}");
        }
    }
}

#[test]
fn what_comes_with_the_reply_to_starttls_is_no_reply() {
    let certificate = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let file = std::env::temp_dir().join(format!("pg_errand-{}.pem", uuid::Uuid::new_v4()));
    std::fs::write(&file, certificate.cert.pem()).unwrap();
    for (injected, is_sent) in [("220 go on", true), ("220 go on\r\n250 AUTH PLAIN", false)] {
        let server = Server::start_saying(&certificate, Some(injected));
        let of = MailServer { host: "127.0.0.1".into(), port: server.port, tls: SmtpTls::Starttls };
        let ca_file = Some(file.to_str().unwrap().to_owned());
        let response = server.send_to(&client(), of, LONG, vec![login()], ca_file);
        match is_sent {
            true => assert_eq!(said(response).0, 250),
            false => assert!(response.unwrap_err().contains("more than the reply")),
        }
        assert_eq!(server.read().iter().any(|line| line.starts_with("AUTH")), is_sent);
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn what_comes_before_it_is_asked_for_is_no_reply() {
    for command in ["EHLO", "MAIL", "RCPT", "DATA"] {
        let (server, client) =
            (Server::start(Quirk::Says(command, "250 yes\r\n250 yes, too\r\n250 all right")), client());
        let error = server.send(&client, LONG, vec![]).unwrap_err();
        assert!(!error.contains("outcome unknown"), "{command}: {error}");
        assert!(!server.read().contains(&"end".to_owned()));
    }
}

#[test]
fn what_is_no_reply_is_not_taken_for_one() {
    for response in [
        "",
        "25",
        "25x yes",
        "2500",
        "250_yes",
        "100 wait",
        "600 no",
        "250-a\r\n251 b",
        "350 go on",
        "\u{fc}",
    ] {
        let (server, client) = (Server::start(Quirk::Says("RCPT", response)), client());
        let error = server.send(&client, LONG, vec![]).unwrap_err();
        assert!(error.contains("repl"), "{response}: {error}");
        assert!(!server.read().contains(&"end".to_owned()));
    }
}

#[test]
fn a_server_that_asks_for_user_and_password_is_told() {
    let server = Server::start(Quirk::AsksForLogin);
    assert_eq!(said(server.send(&client(), LONG, vec![login()])).0, 250);
    let lines = server.read();
    let place = lines.iter().position(|line| line == "AUTH LOGIN").unwrap();
    assert_eq!(lines[place + 1..][..2], [BASE64_STANDARD.encode("u"), BASE64_STANDARD.encode("secret")]);
    let none = Server::start(Quirk::Says("EHLO", "250-x.test\r\n250 AUTH XOAUTH2"));
    assert!(none.send(&client(), LONG, vec![login()]).unwrap_err().contains("AUTH PLAIN"));
}

#[test]
fn mails_that_were_stored_with_other_line_ends_are_not_sent() {
    let request = |message: &str, to: &str| SmtpRequest {
        server: MailServer { host: "127.0.0.1".into(), port: 1, tls: SmtpTls::None },
        from: "a@x.test".into(),
        to: vec![to.into()],
        message: BASE64_STANDARD.encode(message),
        message_id: String::new(),
    };
    let of = |message: &str, to: &str| Outgoing::of(&request(message, to), 1000).map(drop);
    assert_eq!(of("Subject: s\r\n\r\nx\r\n", "b@x.test"), Ok(()));
    for message in ["x\n.\r\nMAIL FROM:<a@x.test>\r\n", "x\r.\r\n"] {
        assert!(of(message, "b@x.test").unwrap_err().contains("does not end it"));
    }
    assert!(of("x\r\n", "b@x.test>\r\nDATA").unwrap_err().contains("not an address"));
}

#[test]
fn large_mails_are_not_sent() {
    let request = SmtpRequest {
        server: MailServer { host: "127.0.0.1".into(), port: 1, tls: SmtpTls::None },
        from: "a@x.test".into(),
        to: vec!["b@x.test".into()],
        message: BASE64_STANDARD.encode("12345"),
        message_id: String::new(),
    };
    assert!(Outgoing::of(&request, 4).is_err_and(|error| error.contains("pg_errand.http_max_request_size")));
    assert!(Outgoing::of(&request, 5).is_ok());
}
