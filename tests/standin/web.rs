//! Any HTTP interface: a closure answers.

use std::io;
use std::ops::Deref;

use crate::{Answer, Behaviour, RawServer, Request};

/// A server that answers each request as a closure says, with everything else that a [`RawServer`] can do.
pub struct Web(RawServer);

impl Web {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// If no port or thread is available.
    pub fn start(mut rule: impl FnMut(&Request) -> Answer + Send + 'static) -> io::Result<Self> {
        RawServer::start(move |request| Behaviour::answer(rule(request))).map(Self)
    }
}

impl Deref for Web {
    type Target = RawServer;

    fn deref(&self) -> &RawServer {
        &self.0
    }
}
