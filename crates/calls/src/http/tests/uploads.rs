//! Large requests.

use super::*;
use std::io::Write;

/// Checks that a call ends in time, whatever the server does after it has accepted the connection.
fn ends_in_time(scheme: &str, server: fn(std::net::TcpStream) -> std::io::Result<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("{scheme}://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.accept().and_then(|(stream, _)| server(stream)));
    let start = Instant::now();
    let job = allowing("127.0.0.1");
    let network = Network { max_request_size: u64::MAX, ..(*job.network).clone() };
    let job = Job { timeout: Duration::from_millis(600), network: Arc::new(network), ..job };
    let large = HttpRequest { body: crate::request::Body::Text("x".repeat(30_000_000)), ..get(&url) };
    let problem = send(&client(), &large, &job).unwrap_err();
    assert!(problem.contains("no response from 127.0.0.1"), "{problem}");
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_handshake_that_drips() {
    ends_in_time("https", |mut stream| {
        stream.write_all(b"\x16\x03\x03\x40\x00\x02")?;
        loop {
            std::thread::sleep(Duration::from_millis(50));
            stream.write_all(b"\0")?;
        }
    });
}

#[test]
fn a_server_that_reads_slowly() {
    ends_in_time("http", |mut stream| {
        loop {
            std::io::Read::read_exact(&mut stream, &mut [0; 1000])?;
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}

/// Sends a large request to a server that has read the beginning of it.
fn upload(server: fn(std::net::TcpStream) -> std::io::Result<()>) -> Result<Response, String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        std::io::Read::read_exact(&mut stream, &mut [0; 1000])?;
        server(stream)
    });
    let job = allowing("127.0.0.1");
    let network = Network { max_request_size: u64::MAX, ..(*job.network).clone() };
    let job = Job { timeout: Duration::from_secs(60), network: Arc::new(network), ..job };
    let body = crate::request::Body::Text("x".repeat(30_000_000));
    send(&client(), &HttpRequest { method: "POST".into(), body, ..get(&url) }, &job)
}

#[test]
fn a_response_that_comes_before_the_whole_request_is_the_response() {
    const TOO_LARGE: &[u8] = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!";
    let closes = |mut stream: std::net::TcpStream| stream.write_all(TOO_LARGE);
    let reads_no_more = |mut stream: std::net::TcpStream| {
        stream.write_all(TOO_LARGE)?;
        loop {
            std::thread::park();
        }
    };
    for response in [upload(closes), upload(reads_no_more)] {
        let response = response.unwrap();
        assert_eq!((response.status, response.body.as_slice()), (413, &b"no!"[..]));
    }
    // An interim response is skipped.
    let goes_on = |mut stream: std::net::TcpStream| {
        stream.write_all(b"HTTP/1.1 100 Continue\r\nX-A: b\r\n\r\n")?;
        std::io::copy(&mut std::io::Read::take(&mut stream, 30_000_000 - 1000), &mut std::io::sink())?;
        stream.write_all(response(200, "", "done").as_bytes())?;
        std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
    };
    assert_eq!(upload(goes_on).unwrap().body, b"done");
    assert!(upload(|_| Ok(())).unwrap_err().contains("127.0.0.1"));
}

/// Responds with success before it reads the rest of a large request. The response tells how much has arrived.
fn success_first(mut stream: std::net::TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    let size = 30_000_000 - 1000;
    let read = std::io::copy(&mut std::io::Read::take(&mut stream, size), &mut std::io::sink())?;
    let read = if read == size { "whole" } else { "parts" };
    stream.write_all(format!("5\r\n{read}\r\n0\r\n\r\n").as_bytes())?;
    std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
}

#[test]
fn a_success_that_comes_before_the_whole_request_stops_no_upload() {
    let response = upload(success_first).unwrap();
    assert_eq!((response.status, response.body.as_slice(), response.flaw), (200, &b"whole"[..], None));
}

#[test]
fn a_request_that_was_not_read_to_its_end_is_no_success() {
    let problem = upload(|mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        std::io::copy(&mut std::io::Read::take(&mut stream, 1_000_000), &mut std::io::sink()).map(drop)
    });
    let problem = problem.unwrap_err();
    assert!(problem.contains("HTTP 200") && problem.contains("before it had read"), "{problem}");
}
