use crate::envelope::{Verdict, judge, provider_payload};
use crate::pg::jsonb;
use crate::pg::jsonb_field::View;
use pgrx::prelude::*;

fn view(text: &str) -> View {
    View::of(jsonb::from_text(text))
}

#[pg_schema]
mod tests {
    use super::*;

    #[pg_test]
    fn successes() {
        for text in [
            "{}",
            r#"{"status":"succeeded","payload":{}}"#,
            r#"{"success":true,"error":null,"validation_failure_message":""}"#,
            r#"{"error":false}"#,
            r#"{"error":""}"#,
            r#"{"error":{}}"#,
            r#"{"status":null}"#,
            r#"{"anything":1e400}"#,
        ] {
            assert_eq!(judge(&view(text)), Verdict::Success, "{text}");
        }
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(3000), "]".repeat(3000));
        assert_eq!(judge(&view(&deep)), Verdict::Success);
    }

    #[pg_test]
    fn failures() {
        for (text, reason) in [
            (r#"{"error":"boom"}"#, "boom"),
            (r#"{"error":{"message":"boom","code":7}}"#, "boom"),
            (r#"{"error":["a"]}"#, r#"["a"]"#),
            (r#"{"error":0}"#, "0"),
            (r#"{"error":true,"status":"succeeded"}"#, "true"),
            ("42", "it returned a number, not an object"),
            (r#""x""#, "it returned a string, not an object"),
            ("true", "it returned a boolean, not an object"),
            ("[1]", "it returned an array, not an object"),
            ("[]", "it returned an array, not an object"),
            ("null", "it returned null, not an object"),
        ] {
            let Verdict::Failure(failure) = judge(&view(text)) else { panic!("{text}") };
            // The handler's own words need no hint.
            assert_eq!(
                (failure.text.as_str(), failure.hint.is_some()),
                (reason, reason.starts_with("it ")),
                "{text}"
            );
        }
    }

    #[pg_test]
    fn other_outcomes() {
        for (text, outcome) in [
            (r#"{"validation_failure_message":"no address"}"#, "no address"),
            (r#"{"success":false}"#, "success is false"),
            (r#"{"status":"max_attempts_reached"}"#, "status max_attempts_reached"),
            (r#"{"status":200}"#, "status 200"),
        ] {
            assert_eq!(judge(&view(text)), Verdict::Unsuccessful(outcome.into()), "{text}");
        }
    }

    #[pg_test]
    fn provider_payloads() {
        let payload = provider_payload(&view(r#"{"status":"succeeded","payload":{"a":1}}"#));
        assert_eq!(payload.unwrap()["a"].to_string(), "1");
        assert!(provider_payload(&view(r#"{"payload":{}}"#)).is_ok());
        for text in [
            "{}",
            r#"{"payload":null}"#,
            r#"{"payload":{},"error":"x"}"#,
            r#"{"payload":{},"validation_failure_message":"x"}"#,
            r#"{"payload":{},"success":false}"#,
            r#"{"payload":{},"status":"not_found"}"#,
            "[]",
        ] {
            assert!(provider_payload(&view(text)).is_err(), "{text}");
        }
    }
}
