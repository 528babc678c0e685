//! Which redirects are followed, and what they make of a request.

use super::Reply;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// More redirects than these are not followed.
pub const MAX: usize = 5;
/// Characters of a redirect's target that an error shows.
const SHOWN: usize = 200;

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

/// Where a redirect leads, and why it was not followed, for people; nothing if the reply is none. `may_choose`: the
/// request has a field that says which are followed.
pub fn not_followed(reply: &Reply, may_choose: bool) -> Option<String> {
    let (why, location) = (reply.not_followed.as_ref()?, reply.header("location")?);
    // A query can hold secrets, and so can what stands before the host.
    let place = without_user(location.split(['?', '#']).next().unwrap_or(location));
    let place: String = place.chars().take(SHOWN).collect();
    let why = match why {
        NotFollowed::Unwanted if may_choose => {
            "; \"redirects\" says which are: those of the \"same_host\", or \"all\"".into()
        }
        NotFollowed::Unwanted => String::new(),
        NotFollowed::BecomesGet(method) => format!(
            ": the {method} would become a GET without its body; if that is wanted, \"redirects\" has to be \
             \"same_host_as_get\" or \"all_as_get\""
        ),
        NotFollowed::Insecure => ": it leads from https to http".into(),
        NotFollowed::NoTarget => ": that is no URL that can be called".into(),
        NotFollowed::TooMany => format!(": no more than {MAX} redirects are"),
    };
    Some(format!("it redirects to {place}, which was not followed{why}"))
}

fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("//") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    rest[..end].rfind('@').map_or_else(|| url.to_owned(), |at| format!("{scheme}//{}", &rest[at + 1..]))
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

    #[test]
    fn a_redirect_that_is_the_answer_is_named_with_the_reason_and_without_its_query() {
        let told = |why, may_choose| {
            let place = format!("https://x.test/b{}?key=s3cret", "/c".repeat(30_000));
            let headers = vec![("location".to_owned(), place)];
            let reply = Reply { status: 302, headers, not_followed: Some(why), ..Reply::default() };
            not_followed(&reply, may_choose).unwrap()
        };
        for (why, reason) in [
            (NotFollowed::Unwanted, "; \"redirects\" says"),
            (NotFollowed::BecomesGet("POST".into()), "POST would become a GET"),
            (NotFollowed::Insecure, "from https to http"),
            (NotFollowed::NoTarget, "no URL"),
            (NotFollowed::TooMany, "more than 5"),
        ] {
            let told = told(why, true);
            assert!(told.contains("https://x.test/b/c") && told.contains(reason), "{told}");
            assert!(!told.contains("s3cret") && told.len() < 500, "{told}");
        }
        assert!(!told(NotFollowed::Unwanted, false).contains("\"redirects\""));
        assert_eq!(not_followed(&Reply { status: 200, ..Reply::default() }, true), None);
    }

    #[test]
    fn a_user_in_a_target_is_not_shown() {
        for (url, shown) in [
            ("http://u:pw@other.test/x@y", "http://other.test/x@y"),
            ("//u:p/w@other.test/x", "//u:p/w@other.test/x"),
            ("https://a@b@other.test", "https://other.test"),
            ("/a@b", "/a@b"),
        ] {
            assert_eq!(without_user(url), shown);
        }
    }
}
