//! Identifies connections to mail servers.

use crate::credential::Placed;
use crate::job::Job;
use crate::request::{MailServer, SmtpRequest};

/// The server, and the user at that server. A kept connection is used only for an equal peer.
#[derive(Clone, PartialEq, Eq)]
pub struct Peer {
    pub server: MailServer,
    pub login: Option<(String, String)>,
    /// PEM file with certificates of authorities that are trusted besides those of the system.
    pub ca_file: Option<String>,
    /// The name for EHLO, if not this host's name.
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
