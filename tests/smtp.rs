//! Mail by SMTP, to a server on this machine.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::queue;
use crate::mailing::prepare;

const PASSWORD: &str = "pw_Zx9yW8vUq";

/// A mail server that speaks with one client after the other; it ends with the test's process.
struct MailServer {
    port: u16,
    /// What it was told, line by line.
    told: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let told = Arc::new(Mutex::new(Vec::new()));
        let kept = told.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whether the client stays to the end is its own business.
                let _ = converse(&stream, &kept);
            }
        });
        Self { port, told }
    }

    fn told(&self) -> String {
        self.told.lock().unwrap().join("\n")
    }
}

fn converse(mut stream: &TcpStream, told: &Mutex<Vec<String>>) -> std::io::Result<()> {
    stream.write_all(b"220 mail.test\r\n")?;
    let mut in_data = false;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let answer = answer(&line, in_data);
        in_data = (in_data || line == "DATA") && line != ".";
        told.lock().unwrap().push(line);
        if let Some(answer) = answer {
            stream.write_all(format!("{answer}\r\n").as_bytes())?;
        }
    }
    Ok(())
}

fn answer(line: &str, in_data: bool) -> Option<&'static str> {
    Some(match line {
        "." if in_data => "250 2.0.0 queued as 42",
        _ if in_data => return None,
        "DATA" => "354 go on",
        "QUIT" => "221 bye",
        _ if line.starts_with("EHLO") => "250-mail.test\r\n250 AUTH PLAIN",
        _ if line.starts_with("AUTH") => "235 welcome",
        _ if line.contains("nobody@") => "550 5.1.1 no such mailbox",
        _ => "250 fine",
    })
}

#[test]
fn mail_goes_by_smtp_if_the_setting_says_so() {
    let server = MailServer::start();
    let cluster = Cluster::start(&[
        ("pg_errand.email_provider", "smtp"),
        ("pg_errand.smtp_host", "127.0.0.1"),
        ("pg_errand.smtp_port", &server.port.to_string()),
        ("pg_errand.smtp_tls", "none"),
        ("pg_errand.smtp_user", "me"),
        ("pg_errand.smtp_password", PASSWORD),
    ]);
    let mut client = cluster.connect("postgres");
    prepare(&mut client);
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
