//! Which redirects are followed, and what they make of a request.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// More redirects than these are not followed.
pub const MAX: usize = 5;

/// Which redirects are followed. One after which the request's method and body would not arrive is followed only if
/// that is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Redirects {
    /// None: the redirect is the answer.
    None,
    /// Those that lead to the same scheme, host and port.
    #[default]
    SameHost,
    /// All; credentials, and headers that the request names as such, stay with the first host.
    All,
    /// As `SameHost`, also where the request becomes a GET without a body.
    SameHostAsGet,
    /// As `All`, also where the request becomes a GET without a body.
    AllAsGet,
}

impl Redirects {
    /// What a request's field asks for.
    ///
    /// # Errors
    /// What it may be.
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

    /// True if a redirect is followed that leads to the same host (`stays`), or elsewhere (`is_safe`: not from https to
    /// http).
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

/// True if a redirect makes a GET without a body of a request (RFC 9110, sections 15.4.2 to 15.4.4).
pub fn becomes_get(method: &str, status: u16) -> bool {
    match status {
        303 => !matches!(method, "GET" | "HEAD"),
        301 | 302 => method == "POST",
        _ => false,
    }
}

/// Why a redirect is the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFollowed {
    /// The request does not allow that one.
    Unwanted,
    /// The request of this method would become a GET.
    BecomesGet(String),
    /// From https to http.
    Insecure,
    /// It names no URL that can be called.
    NoTarget,
    /// It is one more than [`MAX`].
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
