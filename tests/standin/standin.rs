//! The stand-in for Resend as tests see it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::resend::Resend;
use crate::server::Server;
use crate::{Behaviour, Exchange, Mail, Options, Submission};

/// A running stand-in for Resend; dropping it closes every connection.
pub struct Standin {
    server: Server,
    resend: Arc<Resend>,
}

impl Standin {
    /// Starts a stand-in; when this returns, it listens.
    ///
    /// # Errors
    /// If the address is not a loopback address or is in use, the mailbox cannot be opened, or no thread is available.
    pub fn start(options: Options) -> io::Result<Self> {
        let resend = Arc::new(Resend::new(&options)?);
        let server = Server::start(options.listen, resend.clone())?;
        Ok(Self { server, resend })
    }

    /// `http://127.0.0.1:<port>`, without a slash at the end: a value for `pg_errand.resend_base_url`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The mails accepted so far, in order. A repeat with the same idempotency key adds none.
    pub fn mails(&self) -> Vec<Mail> {
        self.resend.mails()
    }

    /// How many mails were accepted so far; cheaper than [`Standin::mails`] where there are many.
    pub fn mail_count(&self) -> usize {
        self.resend.mail_count()
    }

    /// Every request so far, refused ones too, in the order they were read.
    pub fn requests(&self) -> Vec<Exchange> {
        self.server.exchanges()
    }

    /// Forgets the mails and requests so far. Idempotency keys and rules stay.
    pub fn clear(&self) {
        self.server.clear();
        self.resend.clear();
    }

    /// Forgets all idempotency keys, as Resend does after 24 hours.
    pub fn forget_keys(&self) {
        self.resend.forget_keys();
    }

    /// Adds a rule that chooses how a mail is answered; `None` leaves it to older rules, then to the recipient's
    /// pattern. Only what passes all checks is put to rules: a bad request is refused as ever.
    pub fn behave(&self, rule: impl FnMut(&Submission) -> Option<Behaviour> + Send + 'static) {
        self.resend.add_rule(Box::new(rule));
    }

    /// Removes all rules.
    pub fn behave_as_usual(&self) {
        self.resend.clear_rules();
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

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.server.open_connections()
    }

    /// Closes every connection that waits for a next request; one that is being answered, right after its answer.
    pub fn close_idle_connections(&self) {
        self.server.close_idle();
    }

    /// Closes the next `connections` connections as soon as they are opened, before anything is read.
    pub fn hang_up_on(&self, connections: usize) {
        self.server.hang_up_on(connections);
    }
}
