//! The dialogue with a mail server (RFC 5321). Commands and replies alternate: commands are not pipelined, and the size of
//! a reply is bounded.

use super::problem::Problem;
use super::stream::Stream;
use crate::response::Response;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// Limit for a line of a reply, in bytes. RFC 5321 allows 512, extensions more.
const MAX_LINE: usize = 4 * 1024;
/// Limit for all lines of a reply, in bytes.
const MAX_REPLY: usize = 64 * 1024;

const DONE: u16 = 2;
const GO_ON: u16 = 3;

pub struct Dialogue {
    stream: BufReader<Stream>,
    /// The name for EHLO; without one, this host's name is used.
    name: Option<String>,
    /// The extensions that the server offers, each with its keyword and parameters.
    extensions: Vec<String>,
}

impl Dialogue {
    /// Reads the greeting and sends EHLO.
    pub fn begin(stream: Stream, name: Option<String>) -> Result<Self, Problem> {
        let stream = BufReader::with_capacity(MAX_LINE, stream);
        let mut dialogue = Dialogue { stream, name, extensions: Vec::new() };
        dialogue.expect(DONE)?;
        dialogue.introduce()?;
        Ok(dialogue)
    }

    /// Continues the dialogue with encryption. Earlier replies of the server are discarded (RFC 3207, section 4.2).
    pub fn encrypt(mut self, config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, Problem> {
        if self.parameters("STARTTLS").is_none() {
            return Err(Problem::Failed("the server does not offer STARTTLS".into()));
        }
        self.command("STARTTLS")?;
        self.check_turn()?;
        let Stream::Plain(socket) = self.stream.into_inner() else {
            return Err(Problem::Failed("the connection is encrypted already".into()));
        };
        let stream = BufReader::with_capacity(MAX_LINE, Stream::encrypted(socket, config, name)?);
        let mut dialogue = Dialogue { stream, name: self.name, extensions: Vec::new() };
        dialogue.introduce()?;
        Ok(dialogue)
    }

    /// True if the peer has neither closed the connection nor sent anything unexpected.
    pub fn is_quiet(&self) -> bool {
        self.stream.buffer().is_empty() && self.stream.get_ref().is_quiet()
    }

    /// Makes reads and writes fail from `end` on.
    pub fn set_end(&mut self, end: Instant) {
        self.stream.get_mut().set_end(end);
    }

    /// Returns the parameters of an extension, if the server offers it.
    pub fn parameters(&self, keyword: &str) -> Option<&str> {
        self.extensions.iter().find_map(|line| {
            let (known, rest) = line.split_once([' ', '=']).unwrap_or((line, ""));
            known.eq_ignore_ascii_case(keyword).then_some(rest)
        })
    }

    /// Sends a command that has to succeed.
    pub fn command(&mut self, line: &str) -> Result<Response, Problem> {
        self.say(line)?;
        self.expect(DONE)
    }

    /// Sends a command whose reply may be a question (334), which the next one of `answers` answers.
    pub fn command_with(&mut self, line: &str, answers: &[&str]) -> Result<(), Problem> {
        self.say(line)?;
        let mut answers = answers.iter();
        loop {
            let response = self.response()?;
            match (response.status, answers.next()) {
                (334, Some(answer)) => self.say(answer)?,
                _ => return accept(response, DONE).map(drop),
            }
        }
    }

    /// Sends the mail itself. Each line of `text` has to end with CRLF.
    pub fn send(&mut self, text: &[u8]) -> Result<Response, Problem> {
        self.say("DATA")?;
        self.expect(GO_ON)?;
        self.check_turn()?;
        let written = self.write(&stuffed(text)).and_then(|()| self.response());
        accept(written.map_err(|error| Problem::of_last_step(&error))?, DONE).map_err(Problem::in_last_step)
    }

    fn introduce(&mut self) -> Result<(), Problem> {
        let address = self.stream.get_mut().local_address()?;
        let name = self.name.clone().unwrap_or_else(|| own_name(address));
        let response = self.command(&format!("EHLO {name}"))?;
        let text = String::from_utf8_lossy(&response.body);
        self.extensions = text.lines().skip(1).map(str::to_owned).collect();
        Ok(())
    }

    fn say(&mut self, line: &str) -> Result<(), Problem> {
        if line.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err(Problem::Failed("a command would contain a line break".into()));
        }
        self.check_turn()?;
        Ok(self.write(format!("{line}\r\n").as_bytes())?)
    }

    /// Bytes that arrive before a command cannot be the reply to it; they may have been injected.
    fn check_turn(&self) -> Result<(), Problem> {
        match self.stream.buffer().is_empty() {
            true => Ok(()),
            false => Err(Problem::Failed("the server sent more than the reply to the last command".into())),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes).and_then(|()| stream.flush())
    }

    fn expect(&mut self, class: u16) -> Result<Response, Problem> {
        accept(self.response()?, class)
    }

    fn response(&mut self) -> io::Result<Response> {
        let (mut status, mut body) = (None, Vec::new());
        loop {
            let line = self.line()?;
            let (code, is_last, text) =
                parts(&line).ok_or_else(|| invalid("the server sent something that is not a reply"))?;
            if status.replace(code).is_some_and(|first| first != code) {
                return Err(invalid("the lines of a reply have different codes"));
            }
            if body.len() + line.len() > MAX_REPLY {
                return Err(invalid(&format!("a reply is larger than {MAX_REPLY} bytes")));
            }
            body.extend_from_slice(text);
            if is_last {
                return Ok(Response { status: code, body, ..Response::default() });
            }
            body.push(b'\n');
        }
    }

    /// Reads the next line, without its end.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.stream.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\n") {
            Some(whole) => Ok(whole.strip_suffix(b"\r").unwrap_or(whole).to_vec()),
            None if line.len() == MAX_LINE => {
                Err(invalid(&format!("a line is longer than {MAX_LINE} bytes")))
            }
            None => Err(io::Error::new(ErrorKind::UnexpectedEof, "the connection was closed")),
        }
    }
}

/// Splits a line of a reply into its code, whether it is the last line, and its text.
fn parts(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (code, rest) = line.split_at_checked(3)?;
    let code =
        std::str::from_utf8(code).ok().filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()))?;
    let code = code.parse().ok().filter(|code| (200..600).contains(code))?;
    match rest.split_first() {
        None => Some((code, true, rest)),
        Some((b' ', text)) => Some((code, true, text)),
        Some((b'-', text)) => Some((code, false, text)),
        Some(_) => None,
    }
}

fn accept(response: Response, class: u16) -> Result<Response, Problem> {
    match response.status / 100 {
        found if found == class => Ok(response),
        4 | 5 => Err(Problem::Refused(response)),
        _ => Err(Problem::Failed(format!("the reply {} does not fit the last command", response.status))),
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}

/// Doubles the dot at the start of lines, and adds the line that ends the mail.
fn stuffed(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 64 + 8);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if !text.is_empty() && !text.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

/// Returns this host's name, or its address if it has no valid name.
fn own_name(address: SocketAddr) -> String {
    let is_name = |name: &String| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    let name = hostname::get().ok().and_then(|name| name.into_string().ok()).filter(is_name);
    name.unwrap_or_else(|| match address {
        SocketAddr::V4(v4) => format!("[{}]", v4.ip()),
        SocketAddr::V6(v6) => format!("[IPv6:{}]", v6.ip()),
    })
}
