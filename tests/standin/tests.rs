//! The stand-in itself, over real connections.

mod behaviours;
mod checks;
mod idempotency;
mod wire;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Behaviour, End, Options, RawServer, Standin};

const KEY: &str = "re_test_key";

fn start() -> Standin {
    Standin::start(Options::default()).unwrap()
}

fn mail() -> Value {
    json!({"from": "Acme <hi@acme.dev>", "to": "ann@mail.dev", "subject": "Hello", "html": "<p>Hello</p>"})
}

fn mail_to(recipient: &str) -> Value {
    let mut mail = mail();
    mail["to"] = json!(recipient);
    mail
}

/// A client that keeps its connection and sends whatever it is told.
struct Client(TcpStream);

/// What came back.
struct Got {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn name(&self) -> String {
        self.json()["name"].as_str().unwrap().to_owned()
    }
}

impl Client {
    fn new(url: &str) -> Self {
        let stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(stream)
    }

    fn send_raw(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn send(&mut self, headers: &[(&str, &str)], body: &str) {
        self.send_raw(&request("POST /emails", headers, body));
    }

    /// Everything until the connection ends; the error if it is not closed cleanly.
    fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).map(|_| bytes)
    }

    fn answer(&mut self) -> Got {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head.split("Content-Length: ").nth(1).unwrap().lines().next().unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        Got { status: head[9..12].parse().unwrap(), head, body }
    }
}

fn request(line: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    format!("{text}\r\n{body}").into_bytes()
}

const GOOD: [(&str, &str); 3] =
    [("Authorization", "Bearer re_test_key"), ("User-Agent", "test/1"), ("Content-Type", "application/json")];

fn post(standin: &Standin, mail: &Value) -> Got {
    let mut client = Client::new(&standin.url());
    client.send(&GOOD, &mail.to_string());
    client.answer()
}

fn post_with_key(standin: &Standin, mail: &Value, key: &str) -> Got {
    let mut client = Client::new(&standin.url());
    client.send(&with_key(key), &mail.to_string());
    client.answer()
}

fn with_key(key: &str) -> Vec<(&str, &str)> {
    [&GOOD[..], &[("Idempotency-Key", key)]].concat()
}

/// Polls until the condition holds, for 20 seconds at most.
fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "the condition never held");
        std::thread::sleep(Duration::from_millis(1));
    }
}
