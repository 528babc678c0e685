//! Credentials, which prove the sender's identity to a provider.

/// A secret that is sent with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    pub placed: Placed,
    /// The texts to redact: the secret itself, and the encoded forms of it that are sent.
    pub secrets: Vec<String>,
}

/// Where a secret is put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    Header {
        name: String,
        value: String,
    },
    /// A parameter of the query; `value` is not encoded yet.
    Query {
        name: String,
        value: String,
    },
    /// The login at a mail server.
    Login {
        user: String,
        password: String,
    },
}

impl Credential {
    pub fn header(name: &str, value: String, secrets: Vec<String>) -> Self {
        Credential { placed: Placed::Header { name: name.into(), value }, secrets }
    }
}

/// A certificate with its chain and private key, as PEM text, for providers that authenticate clients by TLS.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    pub pem: String,
}

/// All credentials that are sent with a request.
pub struct Credentials {
    pub added: Vec<Credential>,
    pub client_certificate: Option<ClientCertificate>,
}
