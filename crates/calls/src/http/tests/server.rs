//! An HTTP server for tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub struct Server {
    pub port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts a server that passes each request to `response`. An error closes the connection.
    pub fn start(
        response: impl Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server { port: listener.local_addr().unwrap().port(), seen: Arc::default() };
        let (seen, response) = (server.seen.clone(), Arc::new(response));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, seen, response) = (stream.unwrap(), seen.clone(), response.clone());
                std::thread::spawn(move || {
                    while let Ok(request) = read(&stream) {
                        seen.lock().unwrap().push(request.clone());
                        if response(&request, &mut stream).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        server
    }

    /// Starts a server that sends the same response to every request.
    pub fn always(response: impl Into<Vec<u8>>) -> Server {
        let response = response.into();
        Server::start(move |_, stream| stream.write_all(&response))
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Returns all requests so far.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// Reads the next request, with the names of its headers in lower case.
pub fn read(stream: impl Read) -> std::io::Result<String> {
    let mut stream = BufReader::new(stream);
    let (mut request, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        request += &line;
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(request + &String::from_utf8_lossy(&body))
}

pub fn response(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}
