//! One HTTP/1.1 request, and how it is read.

use std::sync::OnceLock;
use std::time::SystemTime;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest head (request line and headers), in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Longest body, in bytes: what Resend takes with its attachments.
const MAX_BODY: usize = 40 * 1024 * 1024;

/// One request as it came over the wire.
#[derive(Debug)]
pub struct Request {
    /// The method, as written.
    pub method: String,
    /// The request target: path and query.
    pub target: String,
    /// Header names, as written, and values.
    pub headers: Vec<(String, String)>,
    /// The body, decoded if it was chunked.
    pub body: Vec<u8>,
    /// When the request had been read.
    pub received_at: SystemTime,
    /// Number of the connection it came over, from 1 in the order they were opened.
    pub connection: usize,
    /// The client's port.
    pub peer_port: u16,
    /// How many requests came over the same connection before.
    pub earlier_on_connection: usize,
    /// Whether the connection may carry another request, by the client's wish.
    pub(crate) keep_alive: bool,
    json: OnceLock<Option<Value>>,
}

impl Request {
    /// A header's value by its name in any case; of several with that name the first.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a header.
    pub fn headers_named<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.headers.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(wanted));
        named.map(|(_, value)| value.as_str())
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The body as JSON, if it is JSON.
    pub fn json(&self) -> Option<&Value> {
        self.json.get_or_init(|| serde_json::from_slice(&self.body).ok()).as_ref()
    }
}

/// Why there is no request.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The peer closed the connection, or it broke.
    Gone,
    /// What came is not HTTP/1.1, for this reason.
    Malformed(&'static str),
    /// The head or the body is longer than allowed.
    TooLarge,
}

/// Where a request came from.
pub(crate) struct Origin {
    pub(crate) connection: usize,
    pub(crate) peer_port: u16,
    pub(crate) earlier: usize,
}

/// Reads requests off one connection; keeps what was read too far.
pub(crate) struct Reader {
    buffer: Vec<u8>,
}

struct Head {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    http_1_0: bool,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { buffer: Vec::with_capacity(8 * 1024) }
    }

    /// Whether nothing of a next request has come yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Reads the next request.
    pub(crate) async fn read<S>(&mut self, stream: &mut S, origin: Origin) -> Result<Request, Unread>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let head = self.head(stream).await?;
        if !head.http_1_0 && head.count("Host") != 1 {
            return Err(Unread::Malformed("one Host header is required"));
        }
        if head.value("Expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.map_err(|_| Unread::Gone)?;
        }
        let body = self.body(stream, &head).await?;
        let close = head.value("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        Ok(Request {
            keep_alive: !close && !head.http_1_0,
            method: head.method,
            target: head.target,
            headers: head.headers,
            body,
            received_at: SystemTime::now(),
            connection: origin.connection,
            peer_port: origin.peer_port,
            earlier_on_connection: origin.earlier,
            json: OnceLock::new(),
        })
    }

    async fn head<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<Head, Unread> {
        loop {
            if let Some((head, length)) = parse_head(&self.buffer)? {
                self.buffer.drain(..length);
                return Ok(head);
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(Unread::TooLarge);
            }
            self.more(stream).await?;
        }
    }

    async fn body<S: AsyncRead + Unpin>(&mut self, stream: &mut S, head: &Head) -> Result<Vec<u8>, Unread> {
        match (head.value("Transfer-Encoding"), head.value("Content-Length")) {
            (Some(_), Some(_)) => Err(Unread::Malformed("both Content-Length and Transfer-Encoding")),
            (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => self.chunked(stream).await,
            (Some(_), None) => Err(Unread::Malformed("unknown Transfer-Encoding")),
            (None, Some(length)) => {
                let length = length.parse().map_err(|_| Unread::Malformed("Content-Length is no number"))?;
                self.take(stream, length).await
            }
            (None, None) => Ok(Vec::new()),
        }
    }

    async fn chunked<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<Vec<u8>, Unread> {
        let mut body = Vec::new();
        loop {
            let length = self.chunk_size(stream).await?;
            let chunk = self.take(stream, length).await?;
            if self.take(stream, 2).await? != b"\r\n" {
                return Err(Unread::Malformed("a chunk does not end in a line break"));
            }
            if length == 0 {
                return Ok(body);
            }
            body.extend(chunk);
            if body.len() > MAX_BODY {
                return Err(Unread::TooLarge);
            }
        }
    }

    async fn chunk_size<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<usize, Unread> {
        loop {
            match httparse::parse_chunk_size(&self.buffer) {
                Ok(httparse::Status::Complete((start, size))) => {
                    self.buffer.drain(..start);
                    return usize::try_from(size).map_err(|_| Unread::TooLarge);
                }
                Ok(httparse::Status::Partial) => self.more(stream).await?,
                Err(_) => return Err(Unread::Malformed("chunk size")),
            }
        }
    }

    async fn take<S: AsyncRead + Unpin>(&mut self, stream: &mut S, length: usize) -> Result<Vec<u8>, Unread> {
        if length > MAX_BODY {
            return Err(Unread::TooLarge);
        }
        while self.buffer.len() < length {
            self.more(stream).await?;
        }
        let rest = self.buffer.split_off(length);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    async fn more<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<(), Unread> {
        match stream.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => Err(Unread::Gone),
            Ok(_) => Ok(()),
        }
    }
}

impl Head {
    fn value(&self, wanted: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.as_str())
    }

    fn count(&self, wanted: &str) -> usize {
        self.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).count()
    }
}

/// The head and its length in bytes; nothing while it is incomplete.
fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Unread> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(Unread::Malformed("head")),
        Ok(httparse::Status::Complete(length)) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let headers = parsed.headers.iter().map(|header| (header.name.to_owned(), text(header.value)));
            let head = Head {
                method: parsed.method.unwrap_or_default().to_owned(),
                target: parsed.path.unwrap_or_default().to_owned(),
                headers: headers.collect(),
                http_1_0: parsed.version == Some(0),
            };
            Ok(Some((head, length)))
        }
    }
}
