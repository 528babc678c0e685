//! A mail server for tests.

use super::super::*;
use crate::credential::Credential;
use crate::job::tests::job;
use crate::network::Network;
use crate::request::{MailServer, SmtpTls};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::CertifiedKey;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::sleep;

pub const LONG: Duration = Duration::from_secs(5);

/// How the server differs from a normal one.
#[derive(Clone, Copy, PartialEq)]
pub enum Quirk {
    None,
    /// Sends this reply to the command that begins with the first text.
    Says(&'static str, &'static str),
    /// Delays its greeting.
    GreetsAfter(Duration),
    /// Sends no reply to the command that begins with this text.
    Hangs(&'static str),
    /// Closes the connection instead of replying to the command that begins with this text.
    Drops(&'static str),
    /// Closes the connection after a mail.
    OneMail,
    /// Offers STARTTLS, and replies to it with this text.
    Encrypts(&'static str),
    /// Offers only AUTH LOGIN.
    AsksForLogin,
    /// Replies to the command that begins with the first text with these bytes, repeatedly and with a pause in between,
    /// until the client has disconnected.
    Repeats(&'static str, &'static str, Duration),
}

/// A mail server that reports each line that it reads, and `#` for each new connection.
pub struct Server {
    pub port: u16,
    pub lines: Receiver<String>,
}

impl Server {
    pub fn start(quirk: Quirk) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (report, lines) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let report = report.clone();
                std::thread::spawn(move || {
                    let mut stream = BufReader::new(stream.unwrap());
                    let _ = report.send("#".into());
                    if let Quirk::GreetsAfter(pause) = quirk {
                        sleep(pause);
                    }
                    let _ = stream.get_mut().write_all(b"220 x.test\r\n");
                    serve(&mut stream, quirk, &report)
                });
            }
        });
        Server { port, lines }
    }

    /// Starts a server that encrypts with this certificate, from the start or after STARTTLS.
    pub fn start_encrypted(certificate: &CertifiedKey<rcgen::KeyPair>, tls: SmtpTls) -> Server {
        match tls {
            SmtpTls::Starttls => Server::start_saying(certificate, Some("220 go on")),
            _ => Server::start_saying(certificate, None),
        }
    }

    /// Starts a server that replies to STARTTLS with `words` and then encrypts, or encrypts from the start.
    pub fn start_saying(certificate: &CertifiedKey<rcgen::KeyPair>, words: Option<&'static str>) -> Server {
        let config = config(certificate);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (report, lines) = channel();
        std::thread::spawn(move || {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            if let Some(words) = words {
                let _ = stream.get_mut().write_all(b"220 x.test\r\n");
                let _ = serve(&mut stream, Quirk::Encrypts(words), &report);
            }
            let connection = ServerConnection::new(config).unwrap();
            let mut stream = BufReader::new(StreamOwned::new(connection, stream.into_inner()));
            let _ = report.send("encrypted".into());
            if words.is_none() {
                let _ = stream.get_mut().write_all(b"220 x.test\r\n");
            }
            serve(&mut stream, Quirk::None, &report)
        });
        Server { port, lines }
    }

    pub fn send(
        &self,
        client: &Client,
        limit: Duration,
        credentials: Vec<Credential>,
    ) -> Result<Response, String> {
        let server = MailServer { host: "127.0.0.1".into(), port: self.port, tls: SmtpTls::None };
        self.send_to(client, server, limit, credentials, None)
    }

    pub fn send_to(
        &self,
        client: &Client,
        server: MailServer,
        limit: Duration,
        credentials: Vec<Credential>,
        ca_file: Option<String>,
    ) -> Result<Response, String> {
        let request = SmtpRequest {
            server,
            from: "a@x.test".into(),
            to: vec!["b@x.test".into(), "c@x.test".into()],
            message: BASE64_STANDARD.encode("Subject: s\r\n\r\n.dot\r\nend\r\n"),
            message_id: "<key@x.test>".into(),
        };
        let mut job = job(1);
        job.timeout = limit;
        job.credentials = credentials;
        let network = Network { max_request_size: 1000, ca_file, ..Default::default() };
        job.network = network.into();
        client.send(&request, &job, limit)
    }

    pub fn read(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }
}

fn config(certificate: &CertifiedKey<rcgen::KeyPair>) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key);
    Arc::new(config.unwrap())
}

/// Replies to commands until the client disconnects or starts encryption.
fn serve<S: Read + Write>(
    stream: &mut BufReader<S>,
    quirk: Quirk,
    report: &Sender<String>,
) -> std::io::Result<()> {
    let mut in_mail = false;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        let _ = report.send(line.into());
        if in_mail && line != "." {
            continue;
        }
        let answer = match (quirk, line.split(' ').next().unwrap_or_default()) {
            (Quirk::Says(start, answer), _) if line.starts_with(start) => answer,
            (Quirk::Hangs(start), _) if line.starts_with(start) => {
                sleep(LONG);
                return Ok(());
            }
            (Quirk::Drops(start), _) if line.starts_with(start) => return Ok(()),
            (Quirk::Repeats(start, bytes, pause), _) if line.starts_with(start) => loop {
                if let Err(error) = stream.get_mut().write_all(bytes.as_bytes()) {
                    let _ = report.send("gone".into());
                    return Err(error);
                }
                sleep(pause);
            },
            (Quirk::Encrypts(_), "EHLO") => "250-x.test\r\n250 STARTTLS",
            (Quirk::Encrypts(words), "STARTTLS") => words,
            (Quirk::AsksForLogin, "EHLO") => "250-x.test\r\n250 AUTH=LOGIN",
            (Quirk::AsksForLogin, "AUTH") => "334 VXNlcm5hbWU6",
            (Quirk::AsksForLogin, user) if user == BASE64_STANDARD.encode("u") => "334 UGFzc3dvcmQ6",
            (Quirk::AsksForLogin, password) if password == BASE64_STANDARD.encode("secret") => "235 welcome",
            (_, "EHLO") => "250-x.test\r\n250 AUTH PLAIN LOGIN",
            (_, "AUTH") => "235 welcome",
            (_, "DATA") => "354 go on",
            (_, ".") => "250 2.0.0 queued",
            _ => "250 ok",
        };
        in_mail = answer.starts_with("354");
        stream.get_mut().write_all(format!("{answer}\r\n").as_bytes())?;
        stream.get_mut().flush()?;
        if line == "." && quirk == Quirk::OneMail || line == "STARTTLS" {
            return Ok(());
        }
    }
}
