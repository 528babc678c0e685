//! The server without Resend behind it.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::server::Server;
use crate::service::{Service, Verdict};
use crate::{Answer, Behaviour, Exchange, Options, Request};

type Rule = Box<dyn FnMut(&Request) -> Behaviour + Send>;

/// An HTTP server that does with each request whatever a closure says: for other providers, and for plain mischief.
pub struct RawServer {
    server: Server,
}

impl RawServer {
    /// Listens on a free port of 127.0.0.1. [`Behaviour::usual`] answers 200 with `{}` here.
    ///
    /// # Errors
    /// If no port or thread is available.
    pub fn start(rule: impl FnMut(&Request) -> Behaviour + Send + 'static) -> io::Result<Self> {
        let service = Arc::new(Anything(Mutex::new(Box::new(rule))));
        Ok(Self { server: Server::start(Options::default().listen, service)? })
    }

    /// `http://127.0.0.1:<port>`, without a slash at the end.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Every request so far, in the order they were read.
    pub fn requests(&self) -> Vec<Exchange> {
        self.server.exchanges()
    }

    /// Keeps all answers back, those of requests still to come too.
    pub fn hold(&self) {
        self.server.gate().hold();
    }

    /// Lets all answers go that were kept back.
    pub fn release(&self) {
        self.server.gate().release();
    }

    /// How many answers are kept back.
    pub fn held(&self) -> usize {
        self.server.gate().waiting()
    }

    /// How many connections were opened so far.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }
}

struct Anything(Mutex<Rule>);

impl Service for Anything {
    fn judge(&self, request: &Arc<Request>) -> Verdict {
        let behaviour = self.0.lock().unwrap()(request);
        Verdict { behaviour, ..Verdict::plain(Answer::json(200, &json!({}))) }
    }
}
