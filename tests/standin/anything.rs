//! A stand-in for any HTTP interface: a function decides, and every request is kept.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub at: Instant,
}

impl Seen {
    /// A header's value; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What is answered: status, headers, body. A status of 0 is no answer: the connection is left open.
pub type Said = (u16, Vec<(&'static str, String)>, String);

type Decide = dyn Fn(&Seen) -> Said + Send + Sync;

/// A running stand-in; it ends with the test's process.
pub struct Anything {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Anything {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// No port is to be had.
    pub fn start(decide: impl Fn(&Seen) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (decide, kept): (Arc<Decide>, _) = (Arc::new(decide), seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (decide, kept) = (decide.clone(), kept.clone());
                std::thread::spawn(move || serve(&stream, &*decide, &kept));
            }
        });
        Anything { address, seen }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every request so far, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Answers requests until the peer closes the connection or sends what is no request.
fn serve(stream: &TcpStream, decide: &Decide, kept: &Mutex<Vec<Seen>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let seen = read(&mut reader)?;
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(seen.clone());
        let (status, headers, body) = decide(&seen);
        if status == 0 {
            std::thread::park();
        }
        let mut answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            answer += &format!("{name}: {value}\r\n");
        }
        let mut stream = stream;
        stream.write_all((answer + "\r\n" + &body).as_bytes()).ok()?;
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut seen = Seen { method, target, headers, body: String::new(), at: Instant::now() };
    let length = seen.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    seen.body = String::from_utf8_lossy(&body).into_owned();
    Some(seen)
}
