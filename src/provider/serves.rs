//! Which providers the task types that are built in can go to.

use super::{Service, mail, sms, template};

/// A task type whose payload is known.
struct Known {
    task_type: &'static str,
    interfaces: &'static [&'static str],
    /// What its payload may hold; none: anything.
    fields: fn() -> Vec<&'static str>,
}

const KNOWN: &[Known] = &[
    Known { task_type: "email", interfaces: &["resend", "smtp"], fields: mail::names },
    Known { task_type: "sms", interfaces: &["simulated", "twilio"], fields: sms::names },
    Known { task_type: "http", interfaces: &["http"], fields: Vec::new },
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

/// Whether the service's template for requests asks for what payloads of this type have.
///
/// # Errors
/// What they do not have.
pub fn check_template(task_type: &str, service: &Service) -> Result<(), String> {
    let fields = known(task_type).map(|known| (known.fields)()).unwrap_or_default();
    if fields.is_empty() {
        return Ok(());
    }
    let steps = service.request.as_ref().map(template::first_steps).unwrap_or_default();
    match steps.iter().find(|step| !fields.contains(&step.as_str())) {
        Some(other) => Err(format!("its template asks for \"{other}\", which their payload does not have")),
        None => Ok(()),
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
        assert!(check_template("email", &slack).unwrap_err().contains("channel"));
        assert_eq!(check_template("ours", &slack), Ok(()));
    }

    #[test]
    fn a_template_may_ask_for_every_field_that_a_payload_may_have() {
        for (task_type, names) in [("email", mail::names()), ("sms", sms::names())] {
            assert!(names.contains(&"message_id") && names.contains(&"idempotency_key"), "{names:?}");
            for name in names {
                let request = json!({"path": "/x", "body": {"json": {"value": format!("{{{{{name}}}}}")}}});
                let service = Service { request: Some(request), ..Service::plain(find("http").unwrap()) };
                assert_eq!(check_template(task_type, &service), Ok(()), "{task_type} {name}");
            }
        }
        assert!(sms::names().contains(&"content_sid") && sms::names().contains(&"content_variables"));
    }
}
