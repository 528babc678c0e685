//! Mail by SMTP, to a server on this machine.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postgres::Client;
use serde_json::{Value, json};

use crate::harness::cluster::Cluster;
use crate::harness::mailing::{mail, prepare};
use crate::harness::queue;

const PASSWORD: &str = "pw_Zx9yW8vUq";

/// A mail server that speaks with one client after the other; it ends with the test's process.
struct MailServer {
    port: u16,
    /// What it was told, line by line.
    told: Arc<Mutex<Vec<String>>>,
    /// Whether it takes addresses that are not ASCII (RFC 6531).
    is_international: Arc<AtomicBool>,
}

impl MailServer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let told = Arc::new(Mutex::new(Vec::new()));
        let is_international = Arc::new(AtomicBool::new(false));
        let (kept, knows_it) = (told.clone(), is_international.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whether the client stays to the end is its own business.
                let _ = converse(&stream, &kept, &knows_it);
            }
        });
        Self { port, told, is_international }
    }

    fn told(&self) -> String {
        self.told.lock().unwrap().join("\n")
    }
}

fn converse(
    mut stream: &TcpStream,
    told: &Mutex<Vec<String>>,
    is_international: &AtomicBool,
) -> std::io::Result<()> {
    stream.write_all(b"220 mail.test\r\n")?;
    let mut in_data = false;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let answer = answer(&line, in_data, is_international.load(SeqCst));
        in_data = (in_data || line == "DATA") && line != ".";
        told.lock().unwrap().push(line);
        if let Some(answer) = answer {
            stream.write_all(format!("{answer}\r\n").as_bytes())?;
        }
    }
    Ok(())
}

fn answer(line: &str, in_data: bool, is_international: bool) -> Option<&'static str> {
    Some(match line {
        "." if in_data => "250 2.0.0 queued as 42",
        _ if in_data => return None,
        "DATA" => "354 go on",
        "QUIT" => "221 bye",
        _ if line.starts_with("EHLO") && is_international => "250-mail.test\r\n250-8BITMIME\r\n250 SMTPUTF8",
        _ if line.starts_with("EHLO") => "250-mail.test\r\n250 AUTH PLAIN",
        _ if line.starts_with("AUTH") => "235 welcome",
        _ if line.contains("nobody@") => "550 5.1.1 no such mailbox",
        _ if line.contains("unproved@") => {
            "550 5.7.26 see https://help.test/answer/81126?hl=en#authentication"
        }
        _ => "250 fine",
    })
}

/// A cluster whose mails go to this server.
#[track_caller]
fn start(server: &MailServer, settings: &[(&str, &str)]) -> (Cluster, Client) {
    let builder = Cluster::builder()
        .set("pg_errand.email_provider", "smtp")
        .set("pg_errand.smtp_host", "127.0.0.1")
        .set("pg_errand.smtp_port", &server.port.to_string())
        .set("pg_errand.smtp_tls", "none");
    let cluster = settings.iter().fold(builder, |builder, (name, value)| builder.set(name, value)).start();
    let mut client = cluster.connect("postgres");
    prepare(&mut client);
    (cluster, client)
}

/// Sends `mail` with these fields; returns its task's id when that has this status.
#[track_caller]
fn send(client: &mut Client, fields: &Value, status: &str) -> i64 {
    let mut mail = mail("you@mail.test");
    mail.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let task_id = queue::enqueue(client, "email", json!({"before_handler": "app.build", "mail": mail}));
    queue::wait_status(client, task_id, status);
    task_id
}

/// The only error of a mail with these fields, which fails.
#[track_caller]
fn fail(client: &mut Client, fields: &Value) -> String {
    let task_id = send(client, fields, "failed");
    queue::errors(client, task_id).remove(0).error_message
}

#[test]
fn addresses_are_understood_as_rfc_5322_writes_them() {
    let server = MailServer::start();
    let (_cluster, mut client) = start(&server, &[]);
    let fields = json!({
        "from_address": "Ü <me@bücher.test>",
        "to_address": ["Ann (Sales) <a@mail.test>", "\"a..b\"@mail.test", "c@bücher.test\n"],
    });
    send(&mut client, &fields, "succeeded");
    let told = server.told();
    for line in [
        "MAIL FROM:<me@xn--bcher-kva.test>",
        "RCPT TO:<a@mail.test>",
        "RCPT TO:<\"a..b\"@mail.test>",
        "RCPT TO:<c@xn--bcher-kva.test>",
    ] {
        assert!(told.lines().any(|told| told == line), "{line}: {told}");
    }
    let message_id = told.lines().find(|line| line.starts_with("Message-ID: ")).unwrap();
    assert!(message_id.ends_with("@xn--bcher-kva.test>"), "{message_id}");
    assert!(told.is_ascii(), "{told}");
}

#[test]
fn of_many_recipients_the_one_that_is_wrong_is_named() {
    let server = MailServer::start();
    let (_cluster, mut client) = start(&server, &[]);
    let mut recipients: Vec<String> = (1..=121).map(|n| format!("n{n}@mail.test")).collect();
    recipients[76] = "Ann <n77@mail.test".into();
    let message = fail(&mut client, &json!({"to_address": recipients}));
    assert!(message.contains("to_address is wrong: address 77: \"Ann <n77@mail.test\""), "{message}");
    assert!(server.told().is_empty());
    recipients[76] = "nobody@mail.test".into();
    let message = fail(&mut client, &json!({"to_address": recipients}));
    let expected = "permanent: 550 5.1.1 no such mailbox (recipient nobody@mail.test)";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn the_page_that_a_mail_server_names_is_shown_whole() {
    let server = MailServer::start();
    let (_cluster, mut client) = start(&server, &[]);
    let message = fail(&mut client, &json!({"to_address": "unproved@mail.test"}));
    assert!(message.contains("https://help.test/answer/81126?hl=en#authentication"), "{message}");
}

#[test]
fn an_address_that_is_not_ascii_needs_a_server_that_takes_it() {
    let server = MailServer::start();
    let (_cluster, mut client) = start(&server, &[("pg_errand.max_idle_time", "0")]);
    let fields = json!({"to_address": ["you@mail.test", "ü@bücher.test"]});
    let message = fail(&mut client, &fields);
    assert!(message.contains("ü@xn--bcher-kva.test needs SMTPUTF8"), "{message}");
    assert!(!server.told().contains("MAIL FROM"));
    server.is_international.store(true, SeqCst);
    send(&mut client, &fields, "succeeded");
    let told = server.told();
    assert!(told.contains(" SMTPUTF8") && told.contains("RCPT TO:<ü@xn--bcher-kva.test>"), "{told}");
}

#[test]
fn a_blank_html_is_no_part_of_a_mail_with_a_text() {
    let server = MailServer::start();
    let (_cluster, mut client) = start(&server, &[]);
    send(&mut client, &json!({"html": "", "text": "Hello"}), "succeeded");
    let told = server.told();
    assert!(told.contains("text/plain") && !told.contains("text/html"), "{told}");
}

#[test]
fn the_blanks_of_a_subject_are_kept() {
    let server = MailServer::start();
    let (_cluster, mut client) = start(&server, &[]);
    let subject = "Grüße  schöne Welt";
    send(&mut client, &json!({"subject": subject}), "succeeded");
    let told = server.told();
    let line = told.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap();
    // One encoded word holds them: blanks between two would not count (RFC 2047, section 6.2).
    let word = line.strip_prefix("=?utf-8?b?").and_then(|rest| rest.strip_suffix("?=")).unwrap_or(line);
    assert_eq!(STANDARD.decode(word).map_err(|_| line), Ok(subject.as_bytes().to_vec()));
}

#[test]
fn an_image_is_part_of_the_html_that_shows_it() {
    let server = MailServer::start();
    let (_cluster, mut client) = start(&server, &[]);
    let fields = json!({
        "html": "<img src=\"cid:logo\">", "text": "Hello",
        "attachments": [
            {"filename": "logo.png", "content": "aGVsbG8=", "content_type": "image/png", "content_id": "logo"},
            {"filename": "a.txt", "content": "aGVsbG8="},
        ],
    });
    send(&mut client, &fields, "succeeded");
    let told = server.told();
    let order = [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "Content-ID: <logo>",
        "a.txt",
    ];
    let places = order.map(|part| told.find(part).unwrap_or_else(|| panic!("{part}: {told}")));
    assert!(places.is_sorted(), "{told}");
    let message =
        fail(&mut client, &json!({"attachments": [{"filename": "a", "content": "", "content_id": "a b"}]}));
    assert!(message.contains("content_id"), "{message}");
}

#[test]
fn the_server_is_greeted_by_the_name_of_the_setting() {
    let server = MailServer::start();
    let (cluster, mut client) = start(&server, &[("pg_errand.smtp_ehlo_name", "mail.example.test")]);
    send(&mut client, &json!({}), "succeeded");
    assert!(server.told().contains("EHLO mail.example.test"), "{}", server.told());
    let error = client.batch_execute("alter system set pg_errand.smtp_ehlo_name = 'a b'").unwrap_err();
    let detail = error.as_db_error().and_then(|error| error.detail()).unwrap_or_default().to_owned();
    assert!(detail.contains("mail.example.com"), "{detail}");
    drop(cluster);
}

#[test]
fn a_mail_for_later_is_refused_since_smtp_knows_no_such_thing() {
    let server = MailServer::start();
    let (_cluster, mut client) = start(&server, &[]);
    let message = fail(&mut client, &json!({"scheduled_at": "2030-01-01T00:00:00Z"}));
    assert!(message.contains("scheduled_at") && message.contains("smtp"), "{message}");
    assert!(server.told().is_empty());
}

#[test]
fn mail_goes_by_smtp_if_the_setting_says_so() {
    let server = MailServer::start();
    let (cluster, mut client) =
        start(&server, &[("pg_errand.smtp_user", "me"), ("pg_errand.smtp_password", PASSWORD)]);
    let tasks = [("you@mail.test", "succeeded"), ("nobody@mail.test", "failed")].map(|(to, status)| {
        let mail = json!({
            "message_id": 1, "from_address": "Me <me@mail.test>", "to_address": to, "bcc": "hidden@mail.test",
            "subject": "Grüße", "html": "<p>Hi</p>", "text": "Hi",
            "attachments": [{"filename": "a.txt", "content": "aGVsbG8="}],
        });
        let payload = json!({"before_handler": "app.build", "mail": mail});
        let task_id = queue::enqueue(&mut client, "email", payload);
        queue::wait_status(&mut client, task_id, status);
        task_id
    });
    let response = "select queues.result($1) ->> 'response'";
    let response: String = client.query_one(response, &[&tasks[0]]).unwrap().get(0);
    assert_eq!(response, "2.0.0 queued as 42");
    let error = queue::errors(&mut client, tasks[1]).remove(0).error_message;
    assert!(error.contains("permanent: 550 5.1.1 no such mailbox"), "{error}");

    let told = server.told();
    assert!(told.contains("RCPT TO:<hidden@mail.test>") && !told.contains("Bcc:"), "{told}");
    assert!(told.contains("multipart/alternative") && told.contains("a.txt"), "{told}");
    assert!(told.contains("AUTH PLAIN"), "{told}");

    let calls = "select coalesce(string_agg(c::text, ' '), '') from queues.call c";
    let calls: String = client.query_one(calls, &[]).unwrap().get(0);
    assert!(!(cluster.log() + &calls).contains(PASSWORD));
}
