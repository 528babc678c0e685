//! Which redirects are followed, and what they make of a request.

use super::{HttpRequest, Reply};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// Why a redirect is the answer, for people; nothing if the reply is none.
pub fn not_followed(request: &HttpRequest, reply: &Reply) -> Option<String> {
    let location = reply.header("location").filter(|_| is_redirect(reply.status))?;
    // A query can hold secrets.
    let place = location.split(['?', '#']).next().unwrap_or(location);
    let place: String = place.chars().take(SHOWN).collect();
    let method = &request.method;
    Some(if becomes_get(method, reply.status) && !request.redirects.allow_get() {
        format!(
            "it redirects to {place}, which was not followed: the {method} would become a GET without its body; if that \
             is wanted, \"redirects\" has to be \"same_host_as_get\" or \"all_as_get\""
        )
    } else {
        format!("it redirects to {place}, which was not followed; \"redirects\" says what is")
    })
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
    fn a_redirect_that_is_the_answer_is_named_without_its_query() {
        let told = |method: &str, status| {
            let headers = vec![("location".to_owned(), "https://x.test/b?key=s3cret".to_owned())];
            let request = HttpRequest { method: method.into(), ..HttpRequest::default() };
            not_followed(&request, &Reply { status, headers, ..Reply::default() })
        };
        let post = told("POST", 302).unwrap();
        assert!(post.contains("https://x.test/b,") && post.contains("POST would become a GET"), "{post}");
        for (method, status) in [("GET", 302), ("POST", 307), ("PUT", 301)] {
            let told = told(method, status).unwrap();
            assert!(told.contains("https://x.test/b,") && !told.contains("become"), "{told}");
            assert!(!told.contains("s3cret"), "{told}");
        }
        assert_eq!((told("POST", 200), told("GET", 304)), (None, None));
    }
}
