//! How one request is answered.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{Answer, Request};

/// What is sent back.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// What the service answers by itself.
    Usual,
    /// A well-formed answer in its place.
    Answer(Answer),
    /// Bytes that need not be HTTP.
    Raw(Vec<u8>),
}

/// What becomes of the connection after the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It stays open for the next request.
    KeepAlive,
    /// It is closed, unannounced.
    Close,
    /// It is reset (RST).
    Reset,
    /// It stays open, and nothing more is ever sent.
    Silence,
    /// These bytes are sent again and again until the peer goes away.
    Flood(Vec<u8>),
}

/// How one request is answered: what is sent, when, how fast, and what becomes of the connection.
///
/// A behaviour *accepts* or *refuses* the mail. An accepted mail is counted, and its answer is what a repeat with the
/// same idempotency key gets; a refused one leaves no trace. Statuses from 400 refuse, everything else accepts (the
/// mail is sent, only its answer is lost or spoilt); [`Behaviour::accepting`] and [`Behaviour::refusing`] decide otherwise.
#[derive(Clone, Debug)]
pub struct Behaviour {
    pub(crate) reply: Reply,
    pub(crate) end: End,
    pub(crate) accepts: bool,
    pub(crate) held: bool,
    pub(crate) delay: Duration,
    pub(crate) pause: Option<Duration>,
}

/// What to send.
impl Behaviour {
    /// The service's own answer.
    pub fn usual() -> Self {
        Self::new(Reply::Usual, End::KeepAlive)
    }

    /// A given answer in place of the service's own.
    pub fn answer(answer: Answer) -> Self {
        let accepts = answer.status < 400;
        Self { accepts, ..Self::new(Reply::Answer(answer), End::KeepAlive) }
    }

    /// A status with a JSON body.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::answer(Answer::json(status, body))
    }

    /// An error in Resend's form.
    pub fn error(status: u16, name: &str, message: &str) -> Self {
        Self::answer(Answer::error(status, name, message))
    }

    /// A status with an HTML page, as a proxy in between would send it.
    pub fn html(status: u16, page: &str) -> Self {
        Self::answer(Answer::new(status, "text/html; charset=utf-8", page))
    }

    /// 429 with `Retry-After` (whole seconds).
    pub fn retry_after(seconds: u64) -> Self {
        Self::error(429, "rate_limit_exceeded", "Too many requests.")
            .header("Retry-After", &seconds.to_string())
    }

    /// Bytes that need not be HTTP, and what follows them.
    pub fn raw(bytes: impl Into<Vec<u8>>, end: End) -> Self {
        Self::new(Reply::Raw(bytes.into()), end)
    }

    /// No answer, ever; the connection stays open until the client gives up.
    pub fn never() -> Self {
        Self::raw("", End::Silence)
    }

    /// No answer; the connection is closed after the request was read.
    pub fn close() -> Self {
        Self::raw("", End::Close)
    }

    /// No answer; the connection is reset after the request was read.
    pub fn reset() -> Self {
        Self::raw("", End::Reset)
    }

    /// The first half of a head, then the connection is closed.
    pub fn half_head() -> Self {
        Self::raw("HTTP/1.1 200 OK\r\nContent-Ty", End::Close)
    }

    /// A head that never ends.
    pub fn endless_head() -> Self {
        Self::raw("HTTP/1.1 200 OK\r\n", End::Flood(b"X-Filler: aaaaaaaaaaaaaaaa\r\n".repeat(1024)))
    }

    /// A body that never ends.
    pub fn endless_body() -> Self {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"id\":\"";
        Self::raw(head, End::Flood(vec![b'a'; 64 * 1024]))
    }

    /// 200 with a body that is no JSON.
    pub fn invalid_json() -> Self {
        Self::body(b"{\"id\": oops")
    }

    /// 200 with JSON whose string is not UTF-8.
    pub fn invalid_utf8() -> Self {
        Self::body(b"{\"id\":\"\xff\xfe\xc3\"}")
    }

    /// 200 with valid JSON that jsonb cannot hold: `\u0000` in a string.
    pub fn nul_in_json() -> Self {
        Self::body(br#"{"id":"before\u0000after"}"#)
    }

    /// 200 with valid JSON of about `bytes` bytes.
    pub fn huge_body(bytes: usize) -> Self {
        Self::json(200, &json!({"id": "a".repeat(bytes)}))
    }

    /// 200 with half the body that its `Content-Length` announces, then the connection is closed.
    pub fn truncated() -> Self {
        Self::body(br#"{"id":"4ef9"#).header("Content-Length", "48").then(End::Close)
    }

    /// 403 whose message holds the request's `Authorization` header, to see where a secret ends up.
    pub fn echo_authorization(request: &Request) -> Self {
        let sent = request.header("Authorization").unwrap_or_default();
        Self::error(403, "invalid_api_key", &format!("API key is invalid: {sent}"))
    }

    fn body(bytes: &[u8]) -> Self {
        Self::answer(Answer::new(200, "application/json", bytes))
    }

    fn new(reply: Reply, end: End) -> Self {
        Self { reply, end, accepts: true, held: false, delay: Duration::ZERO, pause: None }
    }
}

/// When and how to send it.
impl Behaviour {
    /// Waits before answering.
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Waits for the next `release()` before answering, even if nothing else is held.
    pub fn held(self) -> Self {
        Self { held: true, ..self }
    }

    /// Sends byte after byte with this pause in between.
    pub fn dripping(self, pause: Duration) -> Self {
        Self { pause: Some(pause), ..self }
    }

    /// Does something else with the connection afterwards.
    pub fn then(self, end: End) -> Self {
        Self { end, ..self }
    }

    /// Adds a header. Only an answer made here has headers; the service's own and raw bytes stay as they are.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Reply::Answer(answer) = &mut self.reply {
            answer.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Counts the mail, whatever the answer says.
    pub fn accepting(self) -> Self {
        Self { accepts: true, ..self }
    }

    /// Doesn't count the mail, whatever the answer says.
    pub fn refusing(self) -> Self {
        Self { accepts: false, ..self }
    }
}
