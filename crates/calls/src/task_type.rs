//! Which providers can serve the built-in task types.

use crate::provider::Provider;
use crate::template;

// The built-in task types that call a provider.
pub const EMAIL: &str = "email";
pub const SMS: &str = "sms";
pub const HTTP: &str = "http";

/// A task type that comes with the extension.
struct Known {
    task_type: &'static str,
    interfaces: &'static [&'static str],
    /// The field of the payload that contains the recipient.
    address: Option<&'static str>,
}

const KNOWN: &[Known] = &[
    Known { task_type: EMAIL, interfaces: &["resend", "smtp"], address: Some("to_address") },
    Known { task_type: SMS, interfaces: &["simulated", "twilio"], address: Some("to_number") },
    Known { task_type: HTTP, interfaces: &["http"], address: None },
];

fn known(task_type: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.task_type == task_type)
}

/// Checks whether this provider can serve tasks of this type. With a template, a provider can serve any type.
///
/// # Errors
/// If it cannot.
pub fn check(task_type: &str, provider: &Provider) -> Result<(), String> {
    known(task_type)
        .map_or(Ok(()), |known| known.check(provider.interface.name(), provider.request.is_some()))
}

impl Known {
    fn check(&self, interface: &str, has_template: bool) -> Result<(), String> {
        if self.interfaces.contains(&interface) || interface == "http" && has_template {
            return Ok(());
        }
        let template =
            if self.interfaces.contains(&"http") { "" } else { ", or http with a template for request" };
        Err(format!(
            "its interface {interface} does not serve them (those that do: {}{template})",
            self.interfaces.join(", ")
        ))
    }
}

/// Checks whether the provider's template for requests uses the recipient. Other fields may be the users' own, since
/// their `before_handler` builds the payload.
///
/// # Errors
/// If it cannot.
pub fn check_template(task_type: &str, provider: &Provider) -> Result<(), String> {
    let address = known(task_type).and_then(|known| known.address);
    let (Some(address), Some(request)) = (address, &provider.request) else { return Ok(()) };
    match template::first_steps(request).iter().any(|step| step == address) {
        true => Ok(()),
        false => Err(format!("its template for requests does not use {{{{{address}}}}}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider_row::ProviderRow;
    use serde_json::{Value, json};

    fn with(request: Value) -> Provider {
        Provider::with("http", ProviderRow { request: Some(request), ..ProviderRow::default() })
    }

    #[test]
    fn a_known_type_goes_to_an_interface_for_it_or_by_a_template() {
        for (task_type, interface, has_template, fits) in [
            ("email", "resend", false, true),
            ("email", "smtp", false, true),
            ("email", "twilio", false, false),
            ("email", "http", false, false),
            ("email", "http", true, true),
            ("sms", "simulated", false, true),
            ("sms", "resend", false, false),
            ("http", "http", false, true),
            ("http", "smtp", false, false),
        ] {
            let checked = known(task_type).unwrap().check(interface, has_template);
            assert_eq!(checked.is_ok(), fits, "{task_type} {interface}: {checked:?}");
        }
        assert!(known("ours").is_none());
    }

    #[test]
    fn a_template_asks_for_what_a_payload_has() {
        let mail = with(json!({"path": "/x", "body": {"json": {"to": "{{to_address}}"}}}));
        assert_eq!(check_template("email", &mail), Ok(()));
        let slack = with(json!({"path": "/x", "body": {"json": {"channel": "{{channel}}"}}}));
        assert!(check_template("email", &slack).unwrap_err().contains("{{to_address}}"));
        assert_eq!(check_template("ours", &slack), Ok(()));
    }
}
