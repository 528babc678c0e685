//! HTTP servers that misbehave: the call ends with one clear error.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::worker_pids;
use crate::harness::mailing::{KEY, mail, prepare, task};
use crate::harness::memory;
use crate::harness::probe::MIB;
use crate::harness::queue::{enqueue, errors, status, wait_status};
use crate::harness::wait::eventually;

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";

/// What a peer does with a connection. It ends when the peer returns.
type Manners = fn(&mut TcpStream);

/// A peer whose manners can be changed between two calls; returns its address, too.
fn peer() -> (String, Arc<Mutex<Manners>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let manners = Arc::new(Mutex::new(close as Manners));
    let current = manners.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().filter_map(Result::ok) {
            let behave = *current.lock().unwrap();
            thread::spawn(move || behave(&mut stream));
        }
    });
    (address, manners)
}

fn close(_: &mut TcpStream) {}

/// Closing has the system send RST.
fn reset(stream: &mut TcpStream) {
    use std::os::fd::AsRawFd;
    let now = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = size_of_val(&now) as libc::socklen_t;
    // SAFETY: a socket of ours, and a value of the type and size that the option has.
    let set = unsafe {
        let value = (&raw const now).cast();
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, size)
    };
    assert_eq!(set, 0);
}

/// Reads nothing until the other side has given up long ago.
fn never_read(_: &mut TcpStream) {
    thread::sleep(Duration::from_secs(60));
}

/// Reads the request's head, and perhaps more.
fn read_some(stream: &mut TcpStream) {
    let _ = stream.read(&mut [0; 4096]);
}

/// Waits until the other side has gone.
fn wait_for_end(stream: &mut TcpStream) {
    let mut ignored = [0; 65536];
    while matches!(stream.read(&mut ignored), Ok(count) if count > 0) {}
}

fn say(stream: &mut TcpStream, what: &str) {
    read_some(stream);
    let _ = stream.write_all(what.as_bytes());
}

/// One byte after the other, for ever.
fn drip(stream: &mut TcpStream, start: &str) {
    say(stream, start);
    while stream.write_all(b"1").is_ok() {
        thread::sleep(Duration::from_millis(100));
    }
}

fn flood(stream: &mut TcpStream, start: &str, again: &str) {
    say(stream, start);
    let chunk = again.repeat(1024);
    while stream.write_all(chunk.as_bytes()).is_ok() {}
}

/// Those that last until the time limit.
const SLOW: &[(&str, Manners)] = &[
    ("never reads", never_read),
    ("never answers", |stream| {
        read_some(stream);
        wait_for_end(stream);
    }),
    ("drips a status line", |stream| drip(stream, "HTTP/1.1 200 O")),
    ("drips a header", |stream| drip(stream, &format!("{HEAD}X-Slow: "))),
    ("drips preliminary answers", |stream| {
        read_some(stream);
        while stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
    }),
    ("stops in the head", |stream| {
        say(stream, HEAD);
        wait_for_end(stream);
    }),
];

/// Those whose status says that the request was carried out, and whose body is not all there.
const CUT: &[(&str, Manners)] = &[
    ("drips a body", |stream| drip(stream, &format!("{HEAD}Content-Length: 1000\r\n\r\n"))),
    ("drips a body without length", |stream| drip(stream, &format!("{HEAD}Connection: close\r\n\r\n"))),
    ("drips the size of a chunk", |stream| {
        drip(stream, &format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n"))
    }),
    ("stops in the body", |stream| {
        say(stream, &format!("{HEAD}Content-Length: 100\r\n\r\n{{"));
        wait_for_end(stream);
    }),
    ("stops between chunks", |stream| {
        say(stream, &format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n"));
        wait_for_end(stream);
    }),
    ("closes within the body", |stream| say(stream, &format!("{HEAD}Content-Length: 100\r\n\r\n{{"))),
    ("closes within a chunk", |stream| {
        say(stream, &format!("{HEAD}Transfer-Encoding: chunked\r\n\r\nff\r\n{{"))
    }),
    ("floods with a body", |stream| {
        flood(stream, &format!("{HEAD}Connection: close\r\n\r\n\""), "xxxxxxxxxxxxxxxx")
    }),
    ("floods with chunks", |stream| {
        flood(stream, &format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n"), "4\r\nxxxx\r\n");
    }),
    ("floods with the size of a chunk", |stream| {
        flood(stream, &format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n"), "0000000000000000");
    }),
    ("floods with what follows the size of a chunk", |stream| {
        flood(stream, &format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n1;"), "x=xxxxxxxxxxxxxx");
    }),
    ("has an absurd chunk", |stream| {
        say(stream, &format!("{HEAD}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n{{}}\r\n"));
    }),
];

/// Those that end by themselves, or must be ended.
const WRONG: &[(&str, Manners)] = &[
    ("closes at once", close),
    ("resets at once", reset),
    ("resets within the request", |stream| {
        read_some(stream);
        reset(stream);
    }),
    ("resets within the head", |stream| {
        say(stream, HEAD);
        reset(stream);
    }),
    ("closes within the head", |stream| say(stream, HEAD)),
    ("floods with preliminary answers", |stream| flood(stream, "", "HTTP/1.1 100 Continue\r\n\r\n")),
    ("floods with headers", |stream| flood(stream, HEAD, "X-More: x\r\n")),
    ("floods with one header", |stream| flood(stream, &format!("{HEAD}X-Long: "), "xxxxxxxxxxxxxxxx")),
    ("floods with garbage", |stream| flood(stream, "", "\0\u{ff}\u{1}garbage")),
    ("has an absurd length", |stream| {
        say(stream, &format!("{HEAD}Content-Length: 99999999999999999999999\r\n\r\n{{}}"))
    }),
    ("has a negative length", |stream| say(stream, &format!("{HEAD}Content-Length: -1\r\n\r\n{{}}"))),
    ("has no such status", |stream| say(stream, "HTTP/1.1 999999 What\r\n\r\n")),
    ("has status zero", |stream| say(stream, "HTTP/1.1 000 None\r\nContent-Length: 2\r\n\r\n{}")),
    ("has no such version", |stream| say(stream, "HTTP/9.9 200 OK\r\n\r\n{}")),
    ("redirects to itself", |stream| {
        say(stream, "HTTP/1.1 307 Again\r\nLocation: /emails\r\nContent-Length: 0\r\n\r\n")
    }),
    ("redirects elsewhere", |stream| {
        say(stream, "HTTP/1.1 302 There\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    }),
    ("switches protocols", |stream| {
        say(stream, "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n{}")
    }),
    ("speaks TLS", |stream| say(stream, "\u{16}\u{3}\u{1}\0\u{5}hello")),
];

/// A cluster whose mails go to this address.
#[track_caller]
fn start(url: &str) -> (Cluster, postgres::Client) {
    start_with(&[("pg_errand.resend_api_key", KEY), ("pg_errand.resend_base_url", url)])
}

#[track_caller]
fn start_with(settings: &[(&str, &str)]) -> (Cluster, postgres::Client) {
    let usual = [
        ("pg_errand.concurrency", "1"),
        ("pg_errand.max_idle_time", "0"),
        ("pg_errand.call_timeout", "400ms"),
    ];
    let cluster = Cluster::start(&[&usual, settings].concat());
    let mut client = cluster.connect("postgres");
    prepare(&mut client);
    (cluster, client)
}

/// Sends a mail that cannot arrive; returns its task's only error.
#[track_caller]
fn fail(client: &mut postgres::Client, name: &str, html: usize) -> String {
    let mut mail = mail("someone@mail.test");
    mail["html"] = json!("x".repeat(html));
    let task_id = enqueue(client, "email", task(&mail));
    wait_status(client, task_id, "failed");
    let mut errors = errors(client, task_id);
    assert_eq!(errors.len(), 1, "{name}: {errors:?}");
    let message = errors.remove(0).error_message;
    assert!(message.len() < 2000, "{name}: {} bytes: {message:.200}", message.len());
    message
}

#[test]
fn a_call_ends_in_its_time_whatever_the_peer_does() {
    let (address, manners) = peer();
    let (_cluster, mut client) = start(&format!("http://{address}"));
    fail(&mut client, "the first", 1);
    let pids = worker_pids(&mut client);
    let before = memory::own(pids[0]);
    for (name, manner) in SLOW {
        *manners.lock().unwrap() = *manner;
        let start = Instant::now();
        let message = fail(&mut client, name, 1);
        assert!(message.contains("no response from") && message.contains(&address), "{name}: {message}");
        // The peers would go on for a minute at least.
        assert!(start.elapsed() < Duration::from_secs(15), "{name}: {:?}", start.elapsed());
    }
    for (name, manner) in WRONG {
        *manners.lock().unwrap() = *manner;
        let message = fail(&mut client, name, 1);
        assert!(message.contains("resend"), "{name}: {message}");
    }
    for (name, manner) in CUT {
        *manners.lock().unwrap() = *manner;
        let start = Instant::now();
        let task_id = enqueue(&mut client, "email", task(&mail("someone@mail.test")));
        wait_status(&mut client, task_id, "succeeded");
        let sql = "select queues.result($1) ->> 'warning'";
        let warning: String = client.query_one(sql, &[&task_id]).unwrap().get(0);
        assert!(warning.contains("cut off") && warning.contains(&address), "{name}: {warning}");
        assert!(start.elapsed() < Duration::from_secs(15), "{name}: {:?}", start.elapsed());
    }
    // Its end may overtake what it has sent.
    *manners.lock().unwrap() = |stream| {
        say(stream, &format!("{HEAD}Content-Length: 100\r\n\r\n{{"));
        reset(stream);
    };
    let task_id = enqueue(&mut client, "email", task(&mail("someone@mail.test")));
    eventually("the call ends", || ["succeeded", "failed"].contains(&status(&mut client, task_id).as_str()));
    assert_eq!(worker_pids(&mut client), pids);
    let after = memory::own(pids[0]);
    assert!(after < before + 64 * MIB, "{before} became {after}");
}

#[test]
fn a_request_that_the_peer_does_not_read_ends_in_its_time() {
    let (address, manners) = peer();
    let (_cluster, mut client) = start(&format!("http://{address}"));
    // More than the system takes for it.
    let large = 12 * MIB as usize;
    *manners.lock().unwrap() = never_read;
    let message = fail(&mut client, "never reads", large);
    assert!(message.contains("no response from"), "{message}");
    for manner in [reset as Manners, |stream| say(stream, HEAD)] {
        *manners.lock().unwrap() = manner;
        let message = fail(&mut client, "goes away", large);
        assert!(message.contains(&address), "{message}");
    }
    let workers = worker_pids(&mut client);
    assert_eq!(workers.len(), 1);
}

#[test]
fn a_peer_that_cannot_speak_tls_ends_the_call_in_its_time() {
    let (address, manners) = peer();
    let (_cluster, mut client) = start(&format!("https://{address}"));
    let cases: &[(&str, Manners, &str)] = &[
        ("never answers", wait_for_end, "no response from"),
        ("never reads", never_read, "no response from"),
        ("speaks plainly", |stream| say(stream, "HTTP/1.1 400 Bad Request\r\n\r\n"), "127.0.0.1"),
        ("speaks garbage", |stream| flood(stream, "", "\u{16}\u{3}\u{3}\u{7f}garbage"), "127.0.0.1"),
        (
            "announces a record and sends half",
            |stream| {
                say(stream, "\u{16}\u{3}\u{3}\0\u{40}half");
                wait_for_end(stream);
            },
            "no response from",
        ),
        (
            "drips a handshake",
            |stream| {
                read_some(stream);
                let _ = stream.write_all(b"\x16\x03\x03\x40\x00\x02");
                while stream.write_all(b"\0").is_ok() {
                    thread::sleep(Duration::from_millis(100));
                }
            },
            "no response from",
        ),
        ("sends an alert", |stream| say(stream, "\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{28}"), "127.0.0.1"),
        ("resets", reset, "127.0.0.1"),
        ("closes", close, "127.0.0.1"),
    ];
    for (name, manner, part) in cases {
        *manners.lock().unwrap() = *manner;
        let message = fail(&mut client, name, 1);
        assert!(message.contains(part), "{name}: {message}");
    }
    assert_eq!(worker_pids(&mut client).len(), 1);
}

#[test]
fn a_proxy_that_drips_or_floods_ends_the_call_in_its_time() {
    let (address, manners) = peer();
    let (_cluster, mut client) = start_with(&[("pg_errand.http_proxy", &format!("http://{address}"))]);
    let mut fail = |name: &str| {
        let task_id: i64 =
            client.query_one("select queues.http_get('http://example.com/x')", &[]).unwrap().get(0);
        wait_status(&mut client, task_id, "failed");
        let message = errors(&mut client, task_id).remove(0).error_message;
        assert!(message.contains("example.com") && message.len() < 2000, "{name}: {message:.200}");
        message
    };
    let slow: &[(&str, Manners)] = &[
        ("drips a status line", |stream| drip(stream, "HTTP/1.1 200 O")),
        ("drips a header", |stream| drip(stream, "HTTP/1.1 200 OK\r\nX-Slow: ")),
        ("drips what comes after", |stream| drip(stream, "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 O")),
    ];
    for (name, manner) in slow {
        *manners.lock().unwrap() = *manner;
        let message = fail(name);
        assert!(message.contains("no response from"), "{name}: {message}");
    }
    let wrong: &[(&str, Manners)] = &[
        ("floods with a status line", |stream| flood(stream, "HTTP/1.1 200 ", "xxxxxxxxxxxxxxxx")),
        ("floods with headers", |stream| flood(stream, "HTTP/1.1 200 OK\r\n", "X-More: x\r\n")),
        ("floods with one header", |stream| flood(stream, "HTTP/1.1 200 OK\r\nX: ", "xxxxxxxxxxxxxxxx")),
    ];
    for (name, manner) in wrong {
        *manners.lock().unwrap() = *manner;
        fail(name);
    }
    let pids = worker_pids(&mut client);
    assert_eq!(pids.len(), 1);
    assert!(memory::own(pids[0]) < 128 * MIB);
}

#[test]
fn redirects_that_come_slowly_have_one_deadline_together() {
    let (address, manners) = peer();
    let (_cluster, mut client) = start_with(&[("pg_errand.http_allowed_hosts", "127.0.0.1")]);
    *manners.lock().unwrap() = |stream| {
        read_some(stream);
        thread::sleep(Duration::from_millis(150));
        let _ = stream.write_all(b"HTTP/1.1 307 Again\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n");
    };
    let url = format!("http://{address}/x");
    let task_id: i64 = client.query_one("select queues.http_get($1)", &[&url]).unwrap().get(0);
    wait_status(&mut client, task_id, "failed");
    let message = errors(&mut client, task_id).remove(0).error_message;
    assert!(message.contains("no response from"), "{message}");
}
