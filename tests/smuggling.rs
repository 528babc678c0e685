//! A mail is sent in lines that no server can take for the end of the mail.

use std::collections::HashMap;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::harness::cluster::Cluster;
use crate::harness::mailing::prepare;
use crate::harness::queue;
use crate::harness::wait::wait_until_sql;

const MAILS: usize = 200;

/// What a server might take for the end of a mail, and what would follow.
const PIECES: &[&str] = &[
    "\r\n.\r\n",
    "\n.\n",
    "\r.\r",
    "\n.\r\n",
    "\r\n.\n",
    ".",
    "..",
    "\n",
    "\r",
    "\r\n",
    "\r\n\r\n",
    " ",
    "\t",
    "=",
    "=0A",
    "--",
    "MAIL FROM:<evil@mail.test>\r\n",
    "RCPT TO:<evil@mail.test>\r\n",
    "DATA\r\n",
    "Bcc: evil@mail.test",
    "Hi",
    "ü",
    "🦀",
    "\u{85}",
    "\u{2028}",
    "\u{b}",
    "\u{c}",
    "\"",
    "<",
    ">",
    "\\",
    ",",
    ";",
];

/// A mail as it came: the lines with their ends, dots still doubled, without the line that ends it.
type Mail = Vec<u8>;

/// Takes every mail. What it is told between mails, and the mails.
#[derive(Default)]
struct Taken {
    commands: Vec<String>,
    mails: Vec<Mail>,
}

fn serve() -> (u16, Arc<Mutex<Taken>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Arc::new(Mutex::new(Taken::default()));
    let kept = taken.clone();
    thread::spawn(move || {
        for stream in listener.incoming().filter_map(Result::ok) {
            let kept = kept.clone();
            thread::spawn(move || converse(&stream, &kept));
        }
    });
    (port, taken)
}

/// By the letter: a line ends with CRLF, and a mail with a line that is a dot.
fn converse(mut stream: &TcpStream, taken: &Mutex<Taken>) -> std::io::Result<()> {
    stream.write_all(b"220 mail.test\r\n")?;
    let mut bytes = BufReader::new(stream).bytes();
    let mut line = || -> std::io::Result<Vec<u8>> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(bytes.next().ok_or(std::io::ErrorKind::UnexpectedEof)??);
        }
        Ok(line)
    };
    loop {
        let command = line()?;
        let command = String::from_utf8_lossy(&command).into_owned();
        let is_data = command == "DATA\r\n";
        let answer = if command.starts_with("EHLO") { "250-mail.test\r\n250 8BITMIME" } else { "250 fine" };
        taken.lock().unwrap().commands.push(command);
        if is_data {
            stream.write_all(b"354 go on\r\n")?;
            let mut mail = Mail::new();
            loop {
                let next = line()?;
                if next == b".\r\n" {
                    break;
                }
                mail.extend(next);
            }
            taken.lock().unwrap().mails.push(mail);
        }
        stream.write_all(format!("{answer}\r\n").as_bytes())?;
    }
}

fn text(rng: &mut Rng, most: usize) -> String {
    let mut text: String = (0..rng.usize(..=most)).map(|_| *rng.choice(PIECES).unwrap()).collect();
    if rng.u8(..) < 16 {
        text.push_str(&"y".repeat(rng.usize(900..3000)));
    }
    text
}

/// One that is fine but for where `text` chose something else.
fn random(rng: &mut Rng, n: usize) -> Value {
    let attachments: Vec<Value> = (0..rng.usize(..3))
        .map(|_| {
            let name = if rng.u8(..) < 32 { text(rng, 3) } else { "f.txt".to_owned() };
            let kind = if rng.u8(..) < 32 { format!("text/plain; a=\"{}\"", text(rng, 2)) } else { "text/plain".to_owned() };
            json!({"filename": format!("f{name}"), "content": STANDARD.encode(text(rng, 40)), "content_type": kind})
        })
        .collect();
    let mut mail = json!({
        "message_id": n, "from_address": "me@mail.test", "to_address": "you@mail.test", "subject": "Hello",
        "text": text(rng, 40), "headers": {"X-N": n.to_string()}, "attachments": attachments,
    });
    if rng.bool() {
        mail["html"] = json!(text(rng, 40));
    }
    match rng.u8(..24) {
        0 => mail["subject"] = json!(text(rng, 6)),
        1 => mail["from_address"] = json!(format!("\"{}\" <me@mail.test>", text(rng, 4))),
        2 => mail["to_address"] = json!(format!("{} <you@mail.test>", text(rng, 4))),
        3 => mail["to_address"] = json!(format!("\"{}\"@mail.test", text(rng, 3))),
        4 => mail["reply_to"] = json!(format!("you@mail.test{}", text(rng, 2))),
        5 => mail["headers"]["X-More"] = json!(text(rng, 5)),
        6 => mail["tags"] = json!([{"name": "n", "value": text(rng, 2)}]),
        7 => mail["headers"]["Subject "] = json!("x"),
        _ => {}
    }
    mail
}

/// What is wrong with a mail by the letter of RFC 5321 and RFC 5322.
fn problem(mail: &[u8]) -> Option<&'static str> {
    for line in mail.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r\n")?;
        if line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Some("a bare CR, LF or NUL");
        }
        if line.len() > 998 {
            return Some("a line of more than 998 bytes");
        }
        if !line.is_ascii() {
            return Some("more than seven bits");
        }
        if line.starts_with(b".") && !line.starts_with(b"..") {
            return Some("a dot that is not doubled");
        }
    }
    None
}

/// True if a server that takes CR or LF alone for the end of a line would see an end in the mail.
fn has_end_for_lenient(mail: &[u8]) -> bool {
    mail.split(|byte| matches!(byte, b'\r' | b'\n')).any(|line| line == b".")
}

/// The parts of a mail: the type, and the content, decoded.
fn parts(plain: &str) -> Vec<(String, Vec<u8>)> {
    let (head, body) = plain.split_once("\r\n\r\n").unwrap();
    let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    let header = |name: &str| {
        let line = unfolded.lines().find(|line| line.to_lowercase().starts_with(name));
        line.map_or("", |line| line[name.len()..].trim()).to_owned()
    };
    let kind = header("content-type:");
    if let Some((_, boundary)) = kind.split_once("boundary=\"") {
        let boundary = format!("--{}", boundary.trim_end_matches('"'));
        let inner = body.split(&boundary).skip(1).take_while(|part| !part.starts_with("--"));
        return inner
            .flat_map(|part| {
                let part = part.strip_prefix("\r\n").unwrap_or(part);
                parts(part.strip_suffix("\r\n").unwrap_or(part))
            })
            .collect();
    }
    let content = match header("content-transfer-encoding:").as_str() {
        "base64" => STANDARD.decode(body.replace("\r\n", "")).unwrap(),
        "quoted-printable" => unquoted(body),
        other => panic!("{other}: {head}"),
    };
    vec![(kind, content)]
}

fn unquoted(text: &str) -> Vec<u8> {
    let text = text.replace("=\r\n", "");
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'=' {
            let code = std::str::from_utf8(&after[..2]).unwrap();
            out.push(u8::from_str_radix(code, 16).unwrap());
            rest = &after[2..];
        } else {
            out.push(*byte);
            rest = after;
        }
    }
    out
}

/// Texts may get other line ends, and lose those at their end.
fn is_same_text(got: &[u8], given: &str) -> bool {
    let normal = |text: &str| text.replace("\r\n", "\n").trim_end_matches(['\r', '\n']).to_owned();
    normal(&String::from_utf8_lossy(got)) == normal(given)
}

#[test]
fn no_server_sees_more_than_one_mail_in_what_is_sent_as_one() {
    let (port, taken) = serve();
    let cluster = Cluster::start(&[
        ("pg_errand.email_provider", "smtp"),
        ("pg_errand.smtp_host", "127.0.0.1"),
        ("pg_errand.smtp_port", &port.to_string()),
        ("pg_errand.smtp_tls", "none"),
    ]);
    let mut client = cluster.connect("postgres");
    prepare(&mut client);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let mut given = HashMap::new();
    for n in 0..MAILS {
        let mut mail = random(&mut rng, n);
        if n == 0 {
            // The one of the report: short lines of ASCII in an attachment.
            let content = STANDARD.encode("x\n.\r\nMAIL FROM:<evil@mail.test>\r\n");
            mail = json!({
                "message_id": 0, "from_address": "me@mail.test", "to_address": "you@mail.test", "subject": "Hello",
                "text": "Hi", "headers": {"X-N": "0"}, "attachments": [{"filename": "a", "content": content}],
            });
        }
        queue::enqueue(&mut client, "email", json!({"before_handler": "app.build", "mail": mail}));
        given.insert(n, mail);
    }
    wait_until_sql(&mut client, "select count(*) from queues.task where finished_at is null", "0");

    let succeeded: i64 = client
        .query_one("select count(*) from queues.task_status where status = 'succeeded'", &[])
        .unwrap()
        .get(0);
    let refused = client.query("select error_message from queues.error", &[]).unwrap();
    for row in &refused {
        let message: String = row.get(0);
        let is_known = [
            "the payload's",
            "control character",
            "cannot be sent",
            "attachment",
            "tag",
            "name of a header",
            "not an address",
            "SMTPUTF8",
        ]
        .iter()
        .any(|known| message.contains(known));
        assert!(is_known, "{message}");
    }
    let taken = taken.lock().unwrap();
    assert_eq!(taken.mails.len() as i64, succeeded);
    assert_eq!(taken.mails.len() + refused.len(), MAILS);
    assert!(taken.mails.len() > MAILS / 2, "{} of {MAILS}", taken.mails.len());
    for command in &taken.commands {
        let is_ours = command.starts_with("EHLO ")
            || command.starts_with("MAIL FROM:<me@mail.test>\r\n")
            || command.starts_with("RCPT TO:<")
            || command == "DATA\r\n";
        assert!(
            is_ours && !command.contains("evil") && command.matches(['\r', '\n']).count() == 2,
            "{command:?}"
        );
    }
    for mail in &taken.mails {
        let shown = String::from_utf8_lossy(mail);
        assert_eq!(problem(mail), None, "{shown}");
        assert!(!has_end_for_lenient(mail), "{shown}");
        let head = shown.split("\r\n\r\n").next().unwrap();
        assert!(!head.lines().any(|line| line.to_lowercase().starts_with("bcc:")), "{head}");
        let number = head.lines().find_map(|line| line.strip_prefix("X-N: ")).unwrap();
        let given = &given[&number.parse::<usize>().unwrap()];
        let mut parts = parts(&shown.replace("\r\n..", "\r\n.")).into_iter();
        for (field, kind) in [("text", "text/plain"), ("html", "text/html")] {
            let Some(text) = given[field].as_str() else { continue };
            let is_blank = |name: &str| given[name].as_str().is_none_or(|text| text.trim().is_empty());
            // A blank one is left out if there is another.
            if is_blank(field)
                && (field == "html" && !is_blank("text") || field == "text" && given["html"].is_string())
            {
                continue;
            }
            // A mail with html alone has no other text, and one with both has both.
            let (found, content) = parts.next().unwrap();
            assert!(found.starts_with(kind), "{found}: {shown}");
            assert!(
                is_same_text(&content, text),
                "{field} {text:?}: {:?}: {shown}",
                String::from_utf8_lossy(&content)
            );
        }
        for attachment in given["attachments"].as_array().unwrap() {
            let (_, content) = parts.next().unwrap();
            assert_eq!(STANDARD.encode(content), attachment["content"].as_str().unwrap(), "{shown}");
        }
        assert_eq!(parts.next(), None);
    }
}
