//! Which providers the task types that are built in can go to.

use super::{Service, template};

/// A task type that comes with the extension.
struct Known {
    task_type: &'static str,
    interfaces: &'static [&'static str],
    /// The field of its payload without which nothing can be sent.
    address: Option<&'static str>,
}

const KNOWN: &[Known] = &[
    Known { task_type: "email", interfaces: &["resend", "smtp"], address: Some("to_address") },
    Known { task_type: "sms", interfaces: &["simulated", "twilio"], address: Some("to_number") },
    Known { task_type: "http", interfaces: &["http"], address: None },
];

fn known(task_type: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.task_type == task_type)
}

/// Whether tasks of this type can be sent to this service. A template can make any request of a payload.
///
/// # Errors
/// Why not.
pub fn check(task_type: &str, service: &Service) -> Result<(), String> {
    let Some(known) = known(task_type) else { return Ok(()) };
    let interface = service.provider.name();
    if known.interfaces.contains(&interface) || interface == "http" && service.request.is_some() {
        return Ok(());
    }
    let template =
        if known.interfaces.contains(&"http") { "" } else { ", or http with a template for request" };
    Err(format!(
        "its interface {interface} does not serve them (those that do: {}{template})",
        known.interfaces.join(", ")
    ))
}

/// Whether the service's template for requests is one for such tasks. Further fields may be of the users' own: their
/// `before_handler` makes the payload.
///
/// # Errors
/// Why not.
pub fn check_template(task_type: &str, service: &Service) -> Result<(), String> {
    let address = known(task_type).and_then(|known| known.address);
    let (Some(address), Some(request)) = (address, &service.request) else { return Ok(()) };
    match template::first_steps(request).iter().any(|step| step == address) {
        true => Ok(()),
        false => Err(format!("its template for requests does not use {{{{{address}}}}}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::find;
    use serde_json::json;

    #[test]
    fn a_known_type_goes_to_an_interface_for_it_or_by_a_template() {
        let of = |interface: &str| Service::plain(find(interface).unwrap());
        let with = |request| Service { request: Some(request), ..of("http") };
        for (task_type, service, fits) in [
            ("email", of("resend"), true),
            ("email", of("smtp"), true),
            ("email", of("twilio"), false),
            ("email", of("http"), false),
            ("email", with(json!({"path": "/x", "body": {"json": {"to": "{{to_address}}"}}})), true),
            ("sms", of("simulated"), true),
            ("sms", of("resend"), false),
            ("http", of("http"), true),
            ("http", of("smtp"), false),
            ("ours", of("smtp"), true),
        ] {
            let checked = check(task_type, &service).and_then(|()| check_template(task_type, &service));
            assert_eq!(checked.is_ok(), fits, "{task_type} {}: {checked:?}", service.name);
        }
        let slack = with(json!({"path": "/x", "body": {"json": {"channel": "{{channel}}"}}}));
        assert!(check_template("email", &slack).unwrap_err().contains("{{to_address}}"));
        assert_eq!(check_template("ours", &slack), Ok(()));
    }
}
