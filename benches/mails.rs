//! The stand-in for the e-mail provider as a process, and its own rate.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::programs::attached;
use crate::result::Result;
use crate::room::new_directory;

/// The number of simultaneous connections with which the limit of the stand-in is measured.
const CONNECTIONS: u32 = 32;

/// A running stand-in, which is ended when the value is dropped.
pub struct Provider {
    child: Child,
    home: PathBuf,
    port: u16,
}

impl Provider {
    /// Starts the stand-in, whose responses are delayed by `delay`.
    ///
    /// # Errors
    /// If it was not built in the directory of this program, or does not start.
    pub fn start(delay: Duration) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name("resend-standin");
        if !program.exists() {
            return Err(format!("{} is missing; dev/bench builds it", program.display()).into());
        }
        let home = new_directory()?;
        let mut command = attached(&program);
        command.arg("--port-file").arg(home.join("port")).arg("--mailbox").arg(home.join("mailbox"));
        command.arg("--delay").arg(delay.as_millis().to_string());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let mut provider = Self { child, home, port: 0 };
        provider.port = provider.wait_for_port()?;
        Ok(provider)
    }

    /// Settings of a server whose mails the stand-in accepts.
    pub fn settings(&self) -> [(&'static str, String); 2] {
        [
            ("pg_errand.resend_api_key", "re_test_key".to_owned()),
            ("pg_errand.resend_base_url", format!("http://127.0.0.1:{}", self.port)),
        ]
    }

    /// The number of mails that the stand-in has accepted.
    ///
    /// # Errors
    /// If the mailbox cannot be read.
    pub fn mails(&self) -> Result<usize> {
        Ok(fs::read(self.home.join("mailbox"))?.iter().filter(|byte| **byte == b'\n').count())
    }

    /// The number of requests per second to which the stand-in responds over persistent connections.
    ///
    /// # Errors
    /// If it refuses a request.
    pub fn requests_per_second(&self, duration: Duration) -> Result<f64> {
        let begun = Instant::now();
        let end = begun + duration;
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let port = self.port;
                thread::spawn(move || ask_until(port, number, end))
            })
            .collect();
        let mut answers = 0;
        for thread in threads {
            answers += thread.join().map_err(|_| "a connection panicked")??;
        }
        Ok(f64::from(answers) / begun.elapsed().as_secs_f64())
    }

    fn wait_for_port(&mut self) -> Result<u16> {
        let file = self.home.join("port");
        let since = Instant::now();
        while !file.exists() {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("resend-standin: {status}").into());
            }
            if since.elapsed() > Duration::from_secs(10) {
                return Err("resend-standin does not listen".into());
            }
            sleep(Duration::from_millis(5));
        }
        Ok(fs::read_to_string(file)?.trim().parse()?)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// A connection that sends a mail as soon as the response to the last one has arrived.
fn ask_until(port: u16, number: u32, end: Instant) -> Result<u32> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut answers = 0;
    while Instant::now() < end {
        stream.write_all(request(&format!("limit-{number}-{answers}")).as_bytes())?;
        answer(&mut reader)?;
        answers += 1;
    }
    Ok(answers)
}

fn request(key: &str) -> String {
    let body =
        r#"{"from":"sender@mail.test","to":["someone@mail.test"],"subject":"Hello","html":"<p>Hello</p>"}"#;
    format!(
        "POST /emails HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAuthorization: Bearer re_test_key\r\n\
         Idempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn answer(reader: &mut impl BufRead) -> Result<()> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 200 ") {
        return Err(format!("resend-standin answers {line:?}").into());
    }
    let mut length = 0;
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line)?;
        let value = line.to_ascii_lowercase();
        if let Some(value) = value.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    Ok(())
}
