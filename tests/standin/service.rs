//! What stands behind the server.

use std::sync::Arc;

use crate::{Answer, Behaviour, Request};

/// Judges requests; the server does the talking.
pub(crate) trait Service: Send + Sync + 'static {
    /// What a request comes to. Called once per request, as soon as it has been read.
    fn judge(&self, request: &Arc<Request>) -> Verdict;

    /// The behaviour's waiting is over and its reply is about to be sent. Called once for each verdict.
    fn settle(&self, _verdict: &Verdict) {}
}

/// What a request came to.
pub(crate) struct Verdict {
    /// The service's own answer.
    pub(crate) usual: Answer,
    /// What is done with it.
    pub(crate) behaviour: Behaviour,
    /// Idempotency key whose first request this is, to be settled.
    pub(crate) key: Option<String>,
}

impl Verdict {
    /// An answer that is sent as it is.
    pub(crate) fn plain(usual: Answer) -> Self {
        Self { usual, behaviour: Behaviour::usual(), key: None }
    }
}
