//! Mail servers that misbehave: the call ends within its time limit, in bounded memory, with one clear error.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::worker_pids;
use crate::harness::mailing::{mail, prepare};
use crate::harness::probe::MIB;
use crate::harness::queue::{enqueue, errors, wait_status};
use crate::harness::wait::eventually;
use crate::harness::{memory, queue};

/// What a peer does at one step of the dialogue. The connection ends when it returns.
type Manners = fn(&mut TcpStream);

/// No peer sends more.
const FLOOD: u64 = 256 * MIB;
const GREETING: &str = "220 mail.test\r\n";
const STEPS: [&str; 7] = ["", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "."];

/// A mail server with bad manners at one step, that of the command which begins so.
struct Peer {
    port: u16,
    manners: Arc<Mutex<(&'static str, Manners)>>,
    /// How often a connection ended because the other side had gone.
    gone: Arc<AtomicUsize>,
}

impl Peer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let manners = Arc::new(Mutex::new(("none", close as Manners)));
        let gone = Arc::new(AtomicUsize::new(0));
        let (current, count) = (manners.clone(), gone.clone());
        thread::spawn(move || {
            for mut stream in listener.incoming().filter_map(Result::ok) {
                let (step, behave) = *current.lock().unwrap();
                let count = count.clone();
                thread::spawn(move || {
                    converse(&mut stream, step, behave);
                    count.fetch_add(1, SeqCst);
                });
            }
        });
        Self { port, manners, gone }
    }

    fn behave(&self, step: &'static str, manners: Manners) {
        *self.manners.lock().unwrap() = (step, manners);
    }
}

fn converse(stream: &mut TcpStream, step: &str, behave: Manners) {
    if step.is_empty() {
        return behave(stream);
    }
    let _ = stream.write_all(GREETING.as_bytes());
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut in_mail = false;
    for line in lines.map_while(Result::ok) {
        if in_mail && line != "." {
            continue;
        }
        if line.starts_with(step) {
            return behave(stream);
        }
        in_mail = line == "DATA";
        let answer = match line.split(' ').next().unwrap_or_default() {
            "EHLO" => "250-mail.test\r\n250-STARTTLS\r\n250 AUTH PLAIN",
            "AUTH" => "235 welcome",
            "DATA" => "354 go on",
            _ => "250 fine",
        };
        let _ = stream.write_all(format!("{answer}\r\n").as_bytes());
    }
}

fn close(_: &mut TcpStream) {}

/// Writes again and again until the other side has gone, at most for a minute.
fn drip(stream: &mut TcpStream, first: &[u8], next: &[u8]) {
    let _ = stream.write_all(first);
    for _ in 0..200 {
        if stream.write_all(next).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(300));
    }
    panic!("the client has read what came for a minute");
}

fn flood(stream: &mut TcpStream, again: &str) {
    let chunk = again.repeat(65536 / again.len());
    let mut left = FLOOD;
    while left > 0 && stream.write_all(chunk.as_bytes()).is_ok() {
        left = left.saturating_sub(chunk.len() as u64);
    }
}

/// A cluster whose mails go to this peer.
#[track_caller]
fn start(peer: &Peer, tls: &str, timeout: &str) -> (Cluster, Client) {
    let cluster = Cluster::start(&[
        ("pg_errand.concurrency", "1"),
        ("pg_errand.max_idle_time", "0"),
        ("pg_errand.call_timeout", timeout),
        ("pg_errand.email_provider", "smtp"),
        ("pg_errand.smtp_host", "127.0.0.1"),
        ("pg_errand.smtp_port", &peer.port.to_string()),
        ("pg_errand.smtp_tls", tls),
        ("pg_errand.smtp_user", "me"),
        ("pg_errand.smtp_password", "pw_Zx9yW8vUq"),
    ]);
    let mut client = cluster.connect("postgres");
    prepare(&mut client);
    (cluster, client)
}

/// Sends a mail that cannot arrive; returns its task's only error.
#[track_caller]
fn fail(client: &mut Client, step: &str) -> String {
    let payload = json!({"before_handler": "app.build", "mail": mail("you@mail.test")});
    let task_id = enqueue(client, "email", payload);
    wait_status(client, task_id, "failed");
    let mut errors = errors(client, task_id);
    assert_eq!(errors.len(), 1, "{step}: {errors:?}");
    let message = errors.remove(0).error_message;
    assert!(message.len() < 2000, "{step}: {} bytes: {message:.200}", message.len());
    message
}

#[test]
fn a_reply_without_end_is_refused_at_each_step_before_it_takes_memory() {
    let peer = Peer::start();
    let (_cluster, mut client) = start(&peer, "none", "1min");
    peer.behave("EHLO", close);
    fail(&mut client, "the first");
    let pids = worker_pids(&mut client);
    let before = memory::own(pids[0]);
    memory::forget_peak(pids[0]);
    let peak_before = memory::peak(pids[0]);
    for step in STEPS {
        peer.behave(step, |stream| flood(stream, "2"));
        let message = fail(&mut client, step);
        assert!(message.contains("longer than 4096 bytes"), "{step}: {message}");
        peer.behave(step, |stream| flood(stream, "250-more\r\n"));
        let message = fail(&mut client, step);
        assert!(message.contains("larger than 65536 bytes"), "{step}: {message}");
        assert_eq!(message.contains("outcome unknown"), step == ".", "{step}: {message}");
    }
    assert_eq!(worker_pids(&mut client), pids);
    let (after, peak) = (memory::own(pids[0]), memory::peak(pids[0]));
    assert!(after < before + 32 * MIB, "{before} became {after}");
    assert!(peak < peak_before + 64 * MIB, "at most {peak_before} became {peak}");
}

#[test]
fn a_server_that_drips_is_left_in_time_at_each_step() {
    let peer = Peer::start();
    let (_cluster, mut client) = start(&peer, "none", "1s");
    for (n, step) in STEPS.into_iter().enumerate() {
        peer.behave(step, |stream| drip(stream, b"", b"2"));
        let message = fail(&mut client, step);
        peer.behave(step, |stream| drip(stream, b"", b"250-more\r\n"));
        let again = fail(&mut client, step);
        for message in [message, again] {
            let expected = if step == "." { "no response in time" } else { "within 1000 ms" };
            assert!(message.contains(expected), "{step}: {message}");
        }
        eventually(&format!("{step}: the sockets are closed"), || peer.gone.load(SeqCst) == 2 * (n + 1));
    }
}

#[test]
fn a_handshake_that_drips_is_left_in_time() {
    let peer = Peer::start();
    let (_cluster, mut client) = start(&peer, "tls", "1s");
    peer.behave("", |stream| drip(stream, b"\x16\x03\x03\x40\x00\x02", b"\0"));
    let message = fail(&mut client, "handshake");
    assert!(message.contains("within 1000 ms"), "{message}");
    eventually("the socket is closed", || peer.gone.load(SeqCst) == 1);
}

#[test]
fn what_comes_in_the_packet_of_the_reply_to_starttls_fails_the_task() {
    let peer = Peer::start();
    let (_cluster, mut client) = start(&peer, "starttls", "20s");
    peer.behave("STARTTLS", |stream| {
        let injected = "220 go on\r\n250-mail.test\r\n250 AUTH PLAIN\r\n235 welcome\r\n250 fine\r\n250 fine\r\n354 go on\r\n250 queued\r\n";
        let _ = stream.write_all(injected.as_bytes());
    });
    let message = fail(&mut client, "STARTTLS");
    assert!(message.contains("more than the reply to the last command"), "{message}");
}

#[test]
fn a_server_that_does_not_encrypt_from_the_start_has_the_setting_named() {
    let peer = Peer::start();
    let (_cluster, mut client) = start(&peer, "tls", "20s");
    peer.behave("none", close);
    let message = fail(&mut client, "TLS");
    assert!(message.contains("pg_errand.smtp_tls"), "{message}");
    let shown: String = client
        .query_one("select boot_val from pg_settings where name = 'pg_errand.smtp_tls'", &[])
        .unwrap()
        .get(0);
    assert_eq!(shown, "tls");
    assert_eq!(queue::workers(&mut client).len(), 1);
}
