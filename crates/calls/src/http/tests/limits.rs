//! Limits for time and size.

use super::*;
use crate::provider::Provider;
use crate::provider_row::ProviderRow;
use crate::spawn::plainly as spawn;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Condvar, Mutex};

/// A server that sends `first`, and then `next` repeatedly.
fn endless(first: &'static str, next: &'static str, pause: Duration) -> Server {
    Server::start(move |_, stream| {
        stream.write_all(first.as_bytes())?;
        loop {
            stream.write_all(next.as_bytes())?;
            std::thread::sleep(pause);
        }
    })
}

fn fails(server: &Server, reason: &str) {
    let start = Instant::now();
    let job = Job { timeout: Duration::from_millis(600), ..allowing("127.0.0.1") };
    // The beginning of an incomplete body is kept.
    let response = send(&client(), &get(&server.url("/")), &job);
    let problem = response
        .and_then(|response| response.flaw.map_or(Ok(response.status), |flaw| Err(flaw.reason)))
        .unwrap_err();
    assert!(problem.contains(reason), "{problem}");
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn slow_drip() {
    let pause = Duration::from_millis(50);
    fails(&endless("HTTP/1.1 200 OK\r\nX: ", "x", pause), "within 600 ms");
    fails(&endless("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", "x", pause), "within 600 ms");
    fails(
        &endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", pause),
        "within 600 ms",
    );
    fails(&endless("", "HTTP/1.1 100 Continue\r\n\r\n", pause), "within 600 ms");
    fails(&Server::always(""), "within 600 ms");
}

#[test]
fn responses_that_announce_themselves_are_awaited() {
    for early in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 100 Continue\r\nX-A: b\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    ] {
        let server = Server::always(format!("{early}{}", response(200, "", "done")));
        let response = send(&client(), &get(&server.url("/")), &allowing("127.0.0.1"));
        assert_eq!(response.map(|response| response.body), Ok(b"done".to_vec()), "{early}");
    }
}

#[test]
fn a_look_up_that_hangs() {
    let slow = |_: &str| {
        std::thread::sleep(Duration::from_secs(2));
        local_names("inside.test")
    };
    let start = Instant::now();
    let job = Job { timeout: Duration::from_millis(200), ..allowing("*") };
    let problem = send(&Client::with_look_up(slow, spawn), &get("http://inside.test"), &job).unwrap_err();
    assert!(problem.contains("looked up"), "{problem}");
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn names_of_payloads_that_hang_hold_up_no_provider() {
    static OPEN: Mutex<bool> = Mutex::new(false);
    static OPENED: Condvar = Condvar::new();
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let slow = |name: &str| {
        if name.starts_with("slow") {
            ASKED.fetch_add(1, SeqCst);
            drop(OPENED.wait_while(OPEN.lock().unwrap(), |open| !*open));
        }
        local_names("inside.test")
    };
    let client = Client::with_look_up(slow, spawn);
    let server = Server::always(response(200, "", ""));
    std::thread::scope(|scope| {
        for n in 0..70 {
            let client = &client;
            let job = Job { timeout: Duration::from_secs(60), ..allowing("*") };
            scope.spawn(move || send(client, &get(&format!("http://slow{n}.test:1/")), &job));
        }
        while ASKED.load(SeqCst) < 32 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let base = format!("http://provider.test:{}", server.port);
        let row = ProviderRow { base_url: Some(base.clone()), ..ProviderRow::default() };
        let provider = Provider::with("http", row);
        let job = Job { provider: Arc::new(provider), timeout: Duration::from_secs(60), ..allowing("*") };
        assert_eq!(send(&client, &get(&base), &job).map(|response| response.status), Ok(200));
        *OPEN.lock().unwrap() = true;
        OPENED.notify_all();
    });
}

#[test]
fn responses_that_are_too_large() {
    let too_large = "larger than 10000 bytes";
    fails(&Server::always(response(200, "", &"x".repeat(10_001))), too_large);
    fails(&endless("HTTP/1.1 200 OK\r\n\r\n", "xxxxxxxxxx", Duration::ZERO), too_large);
    fails(
        &endless(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "A\r\nxxxxxxxxxx\r\n",
            Duration::ZERO,
        ),
        too_large,
    );
    fails(
        &endless(
            "HTTP/1.1 200 OK\r\nContent-Length: 999999999999999999\r\n\r\n",
            "xxxxxxxxxx",
            Duration::ZERO,
        ),
        too_large,
    );
    let job = allowing("127.0.0.1");
    let whole = Server::always(response(200, "", &"x".repeat(10_000)));
    let whole = send(&client(), &get(&whole.url("/")), &job).unwrap();
    assert_eq!((whole.body.len(), whole.flaw), (10_000, None));
    let larger = Server::always(response(502, "Retry-After: 7\r\n", &"x".repeat(10_001)));
    let cut = send(&client(), &get(&larger.url("/")), &job).unwrap();
    assert_eq!((cut.status, cut.header("retry-after"), cut.body.len()), (502, Some("7"), 10_000));
    // The limit is that of this client, so the response counts as complete.
    assert!(cut.flaw.is_some() && cut.is_complete());
    let broken = Server::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc")?;
        Err(std::io::Error::other("closed early"))
    });
    assert!(!send(&client(), &get(&broken.url("/")), &job).unwrap().is_complete());
}

#[test]
fn floods_of_headers() {
    fails(&endless("HTTP/1.1 200 OK\r\n", "X-Y: z\r\n", Duration::ZERO), "failed");
    fails(&endless("HTTP/1.1 200 OK\r\nX: ", "xxxxxxxxxxxxxxxx", Duration::ZERO), "headers");
}

#[test]
fn broken_responses() {
    for broken in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabc",
        "HTTP/9.9 abc\r\n\r\n",
        "garbage\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: x\r\n\r\n",
    ] {
        fails(&Server::always(broken), "");
    }
    fails(
        &Server::start(|_, stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc")?;
            Err(std::io::Error::other("closed early"))
        }),
        "failed",
    );
}

#[test]
fn nothing_is_unpacked() {
    let server = Server::always(response(200, "Content-Encoding: gzip\r\n", "\x1f packed"));
    let response = send(&client(), &get(&server.url("/")), &allowing("127.0.0.1")).unwrap();
    assert_eq!(response.body, b"\x1f packed");
    assert!(!server.seen()[0].to_ascii_lowercase().contains("gzip"));
}

#[test]
fn a_dead_connection_is_replaced() {
    static ALIVE: AtomicBool = AtomicBool::new(true);
    let server = Server::start(|request, stream| {
        if request.starts_with("POST /second") && ALIVE.swap(false, SeqCst) {
            return Err(std::io::Error::other("no response"));
        }
        stream.write_all(response(200, "", "").as_bytes())
    });
    let (client, job) = (client(), allowing("127.0.0.1"));
    assert!(send(&client, &get(&server.url("/first")), &job).is_ok());
    let second = HttpRequest { method: "POST".into(), ..get(&server.url("/second")) };
    assert!(send(&client, &second, &job).is_ok());
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn what_could_be_done_twice_is_sent_once_on_a_connection_of_its_own() {
    let server = Server::start(|request, stream| match request.starts_with("POST /lost") {
        true => Err(std::io::Error::other("no response")),
        false => stream.write_all(response(200, "", "").as_bytes()),
    });
    let (client, job) = (client(), Job { repeatable: false, ..allowing("127.0.0.1") });
    assert!(send(&client, &get(&server.url("/first")), &job).is_ok());
    let lost = HttpRequest { method: "POST".into(), ..get(&server.url("/lost")) };
    assert!(send(&client, &lost, &job).is_err());
    assert!(send(&client, &get(&server.url("/third")), &job).is_ok());
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|request| request.to_ascii_lowercase().contains("connection: close")));
}
