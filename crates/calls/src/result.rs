//! The result of a call for its task.

use crate::content;
use crate::credential::Credential;
use crate::interface::contract::Success;
use crate::provider::Provider;
use crate::redact;
use crate::request::Request;
use crate::response::Response;
use serde_json::Value;

/// The value for the success handler, or the failure of the call.
pub type CallResult = Result<Value, CallFailure>;

/// The failure of a call.
#[derive(Debug, PartialEq)]
pub struct CallFailure {
    /// The message, which names the provider.
    pub message: String,
    /// The provider's response, if there was one.
    pub response: Option<Value>,
}

impl From<String> for CallFailure {
    fn from(message: String) -> Self {
        CallFailure { message, response: None }
    }
}

/// A result that contains no secret, with a warning if the response could not be used as a whole.
pub struct Judged {
    pub result: CallResult,
    pub warning: Option<String>,
}

/// Judges the response to a request, or the reason why there is none. If the status reports that the request was
/// carried out, it counts as carried out, even if the rest of the response is malformed. Secrets are redacted here a
/// second time: [`redact::outcome`] processes the raw response, in which a secret can be encoded in a way that only the
/// decoded value reveals.
pub fn judge(
    provider: &Provider,
    request: &Request,
    response: Result<&Response, &String>,
    credentials: &[Credential],
) -> Judged {
    let failure =
        |reason: &str| format!("{}: {}", provider.name, shown(request, &redact::text(reason, credentials)));
    let redacted = |value| redact::value(value, credentials);
    let response = match response {
        Ok(response) => response,
        Err(reason) => return Judged { result: Err(failure(reason).into()), warning: None },
    };
    match success_of(provider, request, response) {
        Ok(Success::Value(value)) => Judged { result: Ok(redacted(value)), warning: None },
        Ok(Success::Flawed(flaw)) => {
            let result = Ok(redacted(content::flawed(response, &flaw)));
            Judged { result, warning: Some(flaw) }
        }
        Err(reason) => {
            let kept = Some(redacted(content::refused(response)));
            Judged { result: Err(CallFailure { message: failure(&reason), response: kept }), warning: None }
        }
    }
}

/// # Errors
/// If the provider reports a failure, or the response is missing and was the only purpose of the request.
fn success_of(provider: &Provider, request: &Request, response: &Response) -> Result<Success, String> {
    let judged = provider.interface.judge(provider, request, response);
    match (&response.flaw, judged) {
        (None, judged) => judged,
        (Some(flaw), Ok(_)) if request.only_reads() => {
            Err(format!("HTTP {}: {}", response.status, flaw.reason))
        }
        (Some(flaw), Ok(_)) => Ok(Success::Flawed(flaw.reason.clone())),
        (Some(flaw), Err(reason)) => Err(format!("{reason}; {}", flaw.reason)),
    }
}

/// A text from outside without the queries of URLs, which may grant access to something. The URLs in responses of mail
/// servers lead to explanations.
pub fn shown(request: &Request, text: &str) -> String {
    match request {
        Request::Smtp(_) => text.to_owned(),
        _ => redact::urls(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::HttpRequest;
    use crate::response::Flaw;
    use serde_json::json;

    fn judge_of(method: &str, response: Result<Response, String>) -> Judged {
        let request = Request::Http(HttpRequest { method: method.into(), ..HttpRequest::default() });
        let credentials = [Credential::header("X", "s3cret".into(), vec!["s3cret".into()])];
        judge(&Provider::plain("http"), &request, response.as_ref(), &credentials)
    }

    fn response(status: u16, body: &str, flaw: Option<&str>) -> Response {
        let flaw = flaw.map(|reason| Flaw { reason: reason.into(), is_limit: false });
        Response { status, body: body.into(), flaw, ..Response::default() }
    }

    #[test]
    fn an_incomplete_response_fails_only_what_reads() {
        let cut = || Ok(response(200, "abc", Some("cut off")));
        let posted = judge_of("POST", cut());
        assert_eq!(posted.warning.as_deref(), Some("cut off"));
        assert_eq!(posted.result.unwrap()["warning"], "cut off");
        let read = judge_of("GET", cut());
        assert_eq!(read.result.unwrap_err().message, "http: HTTP 200: cut off");
    }

    #[test]
    fn no_secret_is_left() {
        let echoed = judge_of("POST", Ok(response(200, r#"{"key": "s3\u0063ret"}"#, None)));
        assert_eq!(echoed.result.unwrap()["body"], json!({ "key": "********" }));
        let failed = judge_of("POST", Ok(response(401, "no key s3cret", None))).result.unwrap_err();
        assert!(!failed.message.contains("s3cret") && failed.response.unwrap()["body"] == "no key ********");
        let unreached = judge_of("POST", Err("no such host: s3cret.test".into())).result.unwrap_err();
        assert_eq!(unreached.message, "http: no such host: ********.test");
    }
}
