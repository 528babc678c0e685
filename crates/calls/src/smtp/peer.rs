//! What tells one connection to a mail server from another.

use crate::credential::Placed;
use crate::job::Job;
use crate::request::{MailServer, SmtpRequest};

/// Whom a connection leads to, and who we are there.
#[derive(Clone, PartialEq, Eq)]
pub struct Peer {
    pub server: MailServer,
    pub login: Option<(String, String)>,
    /// Certificates of authorities that are trusted besides the system's (PEM).
    pub ca_file: Option<String>,
    /// As whom we introduce ourselves, if not as this host.
    pub ehlo_name: Option<String>,
}

impl Peer {
    pub fn of(request: &SmtpRequest, job: &Job) -> Self {
        let login = job.credentials.iter().find_map(|credential| match &credential.placed {
            Placed::Login { user, password } => Some((user.clone(), password.clone())),
            Placed::Header { .. } | Placed::Query { .. } => None,
        });
        let (ca_file, ehlo_name) = (job.network.ca_file.clone(), job.network.ehlo_name.clone());
        Peer { server: request.server.clone(), login, ca_file, ehlo_name }
    }
}
