//! Programs of Debian that the tests start, and what they show by HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::programs;
use crate::harness::wait::eventually;

/// A program that listens on a port of loopback until it is dropped.
pub struct Daemon {
    child: Child,
    port: u16,
}

impl Daemon {
    /// Starts a program, with the port that it has to listen on, and waits until it does.
    #[track_caller]
    pub fn start(program: &str, configure: impl FnOnce(&mut Command, u16)) -> Self {
        // Free at this moment; nobody else asks for it by its number.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = programs::tool(program);
        configure(&mut command, port);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: prctl() is async-signal-safe. The program ends with this process, whatever ends it.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let child =
            command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; dev/setup installs it"));
        let daemon = Self { child, port };
        eventually(&format!("{program} listens"), || daemon.get("/metrics").map(drop));
        daemon
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the body of the response to a GET, or what is wrong with the response.
    pub fn get(&self, target: &str) -> Result<String, String> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let limit = Duration::from_secs(10);
        let response = TcpStream::connect_timeout(&address, limit).and_then(|mut stream| {
            stream.set_read_timeout(Some(limit))?;
            write!(stream, "GET {target} HTTP/1.0\r\n\r\n")?;
            let mut response = Vec::new();
            stream.read_to_end(&mut response)?;
            Ok(String::from_utf8_lossy(&response).into_owned())
        });
        let response = response.map_err(|error| error.to_string())?;
        let (head, body) = response.split_once("\r\n\r\n").ok_or_else(|| response.clone())?;
        if head.split(' ').nth(1) == Some("200") { Ok(body.to_owned()) } else { Err(response) }
    }

    /// The result of a query of Prometheus at this moment.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let response = self.get(&format!("/api/v1/query?query={}", encoded(expression)))?;
        let response: Value = serde_json::from_str(&response).map_err(|error| error.to_string())?;
        Ok(response["data"]["result"].as_array().cloned().unwrap_or_default())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A text as a part of an URL.
fn encoded(text: &str) -> String {
    let encode = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(*byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.as_bytes().iter().map(encode).collect()
}
