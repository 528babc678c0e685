//! Responses of providers.

use crate::redirect::NotFollowed;

/// The header under which a response names the recipient that a mail server refused.
pub const RECIPIENT: &str = "recipient";

/// A response, as it came from the network.
#[derive(Clone, Debug, Default)]
pub struct Response {
    pub status: u16,
    /// In the order of arrival; names are in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Set if the response is incomplete, although its status is known.
    pub flaw: Option<Flaw>,
    /// Set if the response is a redirect that was not followed.
    pub not_followed: Option<NotFollowed>,
}

/// The reason why a response is incomplete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    pub reason: String,
    /// The response was complete, but exceeded the limit of this client.
    pub is_limit: bool,
}

impl Response {
    /// True if the whole response has arrived, or as much of it as the limit of this client allows.
    pub fn is_complete(&self) -> bool {
        self.flaw.as_ref().is_none_or(|flaw| flaw.is_limit)
    }

    /// The value of a header; `name` is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}
