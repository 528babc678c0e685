//! How a stand-in is set up.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How a stand-in is set up; [`Options::default`] suits most tests.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address to listen on, loopback only; port 0 takes a free one.
    pub listen: SocketAddr,
    /// API keys that are accepted.
    pub keys: Vec<String>,
    /// File to which each accepted mail is appended as one line of JSON.
    pub mailbox: Option<PathBuf>,
    /// Whether recipients at `example.com` and `test.com` (and the like) are refused, as Resend does.
    pub refuse_example_domains: bool,
    /// How long the usual answer to a mail takes.
    pub delay: Duration,
}

impl Default for Options {
    /// A free port of 127.0.0.1, the key `re_test_key`, no mailbox, example domains accepted, no delay.
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            keys: vec!["re_test_key".to_owned()],
            mailbox: None,
            refuse_example_domains: false,
            delay: Duration::ZERO,
        }
    }
}
