//! Describes redirects that were not followed.

use crate::redirect::{MAX, NotFollowed};
use crate::response::Response;

/// The number of characters of a redirect's target that an error shows.
const SHOWN: usize = 200;

/// Returns where a redirect leads and why it was not followed; `None` for another response. `may_choose` means that the
/// request has a field that says which redirects are followed.
pub fn describe(response: &Response, may_choose: bool) -> Option<String> {
    let (why, location) = (response.not_followed.as_ref()?, response.header("location")?);
    // The query and the part before the host can contain secrets.
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
        NotFollowed::NoTarget => ": it is not a URL that can be called".into(),
        NotFollowed::TooMany => format!(": at most {MAX} redirects are followed"),
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

    #[test]
    fn a_redirect_that_is_the_answer_is_named_with_the_reason_and_without_its_query() {
        let told = |why, may_choose| {
            let place = format!("https://x.test/b{}?key=s3cret", "/c".repeat(30_000));
            let headers = vec![("location".to_owned(), place)];
            let response = Response { status: 302, headers, not_followed: Some(why), ..Response::default() };
            describe(&response, may_choose).unwrap()
        };
        for (why, reason) in [
            (NotFollowed::Unwanted, "; \"redirects\" says"),
            (NotFollowed::BecomesGet("POST".into()), "POST would become a GET"),
            (NotFollowed::Insecure, "from https to http"),
            (NotFollowed::NoTarget, "not a URL"),
            (NotFollowed::TooMany, "at most 5"),
        ] {
            let told = told(why, true);
            assert!(told.contains("https://x.test/b/c") && told.contains(reason), "{told}");
            assert!(!told.contains("s3cret") && told.len() < 500, "{told}");
        }
        assert!(!told(NotFollowed::Unwanted, false).contains("\"redirects\""));
        assert_eq!(describe(&Response { status: 200, ..Response::default() }, true), None);
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
