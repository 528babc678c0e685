//! Behaviours a mail chooses by its recipient: `<name>[-<number>]@behave.test`.
//!
//! The counterpart of Resend's own test addresses (`delivered@resend.dev`, …), which are accepted like any other:
//! what they simulate happens after the call.

use std::time::Duration;

use super::Submission;
use super::address::{domain, local_part};
use crate::Behaviour;

/// The domain whose recipients choose.
const DOMAIN: &str = "behave.test";

/// What the first recipient at `behave.test` asks for; nothing if there is none, or it asks for something unknown.
pub(crate) fn behaviour(submission: &Submission) -> Option<Behaviour> {
    let recipients = submission.to();
    let chooser = recipients.into_iter().find(|recipient| domain(recipient) == DOMAIN)?;
    let local = local_part(chooser);
    match local.rsplit_once('-') {
        Some((name, number)) if number.parse::<u64>().is_ok() => {
            numbered(name, number.parse().ok()?, submission)
        }
        _ => named(local, submission),
    }
}

fn numbered(name: &str, number: u64, submission: &Submission) -> Option<Behaviour> {
    Some(match name {
        // The status, in Resend's form of an error.
        "status" => {
            Behaviour::error(u16::try_from(number).ok()?, "application_error", "As the recipient asked.")
        }
        // The status, as a page of HTML.
        "html" => Behaviour::html(u16::try_from(number).ok()?, "<html><body><h1>Sorry</h1></body></html>"),
        // Milliseconds until the answer.
        "delay" => Behaviour::usual().after(Duration::from_millis(number)),
        // Milliseconds between the bytes of the answer.
        "drip" => Behaviour::usual().dripping(Duration::from_millis(number)),
        // 429 with Retry-After (seconds) for the first request with its key; later ones are accepted.
        "retry-after" if submission.is_first() => Behaviour::retry_after(number),
        "retry-after" => Behaviour::usual(),
        // A body of so many bytes.
        "huge" => Behaviour::huge_body(usize::try_from(number).ok()?),
        _ => return None,
    })
}

fn named(name: &str, submission: &Submission) -> Option<Behaviour> {
    Some(match name {
        "hold" => Behaviour::usual().held(),
        "never" => Behaviour::never(),
        "close" => Behaviour::close(),
        "reset" => Behaviour::reset(),
        "half-head" => Behaviour::half_head(),
        "endless-head" => Behaviour::endless_head(),
        "endless" => Behaviour::endless_body(),
        "invalid-json" => Behaviour::invalid_json(),
        "invalid-utf8" => Behaviour::invalid_utf8(),
        "nul" => Behaviour::nul_in_json(),
        "truncated" => Behaviour::truncated(),
        "echo-key" => Behaviour::echo_authorization(submission.request),
        _ => return None,
    })
}
