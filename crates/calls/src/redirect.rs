//! Which redirects are followed, and how they change a request.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The number of redirects that are followed in one call.
pub const MAX: usize = 5;

/// Which redirects are followed. A redirect that would drop the method and body of the request is followed only if the
/// request allows it explicitly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Redirects {
    /// No redirect is followed: the redirect is the response.
    None,
    /// Redirects to the same scheme, host and port are followed.
    #[default]
    SameHost,
    /// All redirects are followed. Credentials, and headers that identify the sender, are sent to the first host only.
    All,
    /// Like `SameHost`, even if the request becomes a GET without a body.
    SameHostAsGet,
    /// Like `All`, even if the request becomes a GET without a body.
    AllAsGet,
}

impl Redirects {
    /// Reads the field of a request.
    ///
    /// # Errors
    /// If the value is invalid; the message names the values that are allowed.
    pub fn of_field(given: &Value) -> Result<Redirects, String> {
        match given {
            Value::Bool(false) => Ok(Redirects::None),
            Value::Bool(true) => Ok(Redirects::All),
            other => Redirects::deserialize(other).map_err(|_| {
                "redirects has to be \"none\", \"same_host\", \"all\", \"same_host_as_get\" or \"all_as_get\"".into()
            }),
        }
    }

    pub fn is_default(&self) -> bool {
        *self == Redirects::default()
    }

    /// True if a redirect is followed. `stays` means that it leads to the same host, `is_safe` that it does not lead
    /// from https to http.
    pub fn follow(self, stays: bool, is_safe: bool) -> bool {
        match self {
            Redirects::None => false,
            Redirects::SameHost | Redirects::SameHostAsGet => stays,
            Redirects::All | Redirects::AllAsGet => stays || is_safe,
        }
    }

    pub fn allow_get(self) -> bool {
        matches!(self, Redirects::SameHostAsGet | Redirects::AllAsGet)
    }
}

pub fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// True if a redirect turns the request into a GET without a body (RFC 9110, sections 15.4.2 to 15.4.4).
pub fn becomes_get(method: &str, status: u16) -> bool {
    match status {
        303 => !matches!(method, "GET" | "HEAD"),
        301 | 302 => method == "POST",
        _ => false,
    }
}

/// The reason why a redirect was not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFollowed {
    /// The request does not allow this redirect.
    Unwanted,
    /// A request with this method would become a GET.
    BecomesGet(String),
    /// The redirect leads from https to http.
    Insecure,
    /// The redirect names no URL that can be called.
    NoTarget,
    /// There were more than [`MAX`] redirects.
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_field_has_a_name_for_each() {
        for (given, means) in [
            (json!(false), Redirects::None),
            (json!("none"), Redirects::None),
            (json!("same_host"), Redirects::SameHost),
            (json!(true), Redirects::All),
            (json!("same_host_as_get"), Redirects::SameHostAsGet),
            (json!("all_as_get"), Redirects::AllAsGet),
        ] {
            assert_eq!(Redirects::of_field(&given), Ok(means), "{given}");
        }
        assert!(Redirects::of_field(&json!("as_get")).unwrap_err().contains("\"all_as_get\""));
    }
}
