//! SMTP, for e-mail by any mail server (RFC 5321).

use super::contract::{Interface, Success};
use crate::credential::Credential;
use crate::hosts::host_name;
use crate::mail::message;
use crate::provider_row::ProviderRow;
use crate::request::{MailServer, Request, SmtpRequest, SmtpTls};
use crate::response::{RECIPIENT, Response};
use crate::settings::{SecretSetting, Settings, SmtpSettings};
use crate::{auth, content};
use serde_json::{Value, json};
use std::time::Duration;

pub struct Smtp;

impl Interface for Smtp {
    fn name(&self) -> &'static str {
        "smtp"
    }

    fn check_settings(&self, _provider: &ProviderRow, settings: &dyn Settings) -> Result<(), String> {
        server(&settings.smtp()).map(drop)
    }

    fn check_secret(&self, provider: &ProviderRow, settings: &dyn Settings) -> Result<(), String> {
        login(provider, settings).map(drop)
    }

    fn request(
        &self,
        _provider: &ProviderRow,
        settings: &dyn Settings,
        payload: &Value,
        key: &str,
    ) -> Result<Request, String> {
        message::build(payload, key, server(&settings.smtp())?).map(Request::Smtp)
    }

    fn credentials(
        &self,
        provider: &ProviderRow,
        settings: &dyn Settings,
        request: &Request,
    ) -> Result<Vec<Credential>, String> {
        // A user who can write stored requests must not be able to have the password sent to another server.
        let of_settings = settings.smtp();
        let now = server(&of_settings)?;
        match request {
            Request::Smtp(request) if request.server == now => {}
            Request::Smtp(request) => return Err(moved(&request.server, &now)),
            _ => return Err("the request is not a mail".into()),
        }
        let login = login(provider, settings)?;
        Ok(login.map(|(user, password)| auth::login(user, password)).into_iter().collect())
    }

    fn judge(
        &self,
        _provider: &ProviderRow,
        request: &Request,
        response: &Response,
    ) -> Result<Success, String> {
        value(request, response).map(Success::Value)
    }

    /// Mail servers do not support idempotency keys.
    fn remembers_keys_for(&self, _provider: &ProviderRow) -> Duration {
        Duration::ZERO
    }

    fn account_of_settings(&self, settings: &dyn Settings) -> String {
        let settings = settings.smtp();
        format!("{} {} {}", settings.host, settings.port, settings.user)
    }
}

/// The user and the password for the mail server; `None` if it needs none.
fn login(provider: &ProviderRow, settings: &dyn Settings) -> Result<Option<(String, String)>, String> {
    let user = provider.auth_name.clone().unwrap_or_else(|| settings.smtp().user);
    if user.is_empty() {
        return Ok(None);
    }
    let password = match &provider.secret {
        Some(name) => settings.named_secret(name)?,
        None => settings.secret(SecretSetting::SmtpPassword).ok_or(
            "no password for the mail server: set pg_errand.smtp_password, or SMTP_PASSWORD in the server's environment",
        )?,
    };
    Ok(Some((user, password)))
}

fn server(settings: &SmtpSettings) -> Result<MailServer, String> {
    if settings.host.is_empty() {
        return Err("no mail server: set pg_errand.smtp_host".into());
    }
    let port = if settings.port > 0 { settings.port } else { usual_port(settings.tls) };
    Ok(MailServer { host: host_name(&settings.host)?, port, tls: settings.tls })
}

/// Describes what has changed since a mail was built.
fn moved(made_for: &MailServer, now: &MailServer) -> String {
    let named =
        |server: &MailServer| format!("{}:{} ({:?})", server.host, server.port, server.tls).to_lowercase();
    format!(
        "the mail server of the settings has changed: the mail was made for {}, and the password is for {} now; it was \
         not sent",
        named(made_for),
        named(now)
    )
}

fn usual_port(tls: SmtpTls) -> u16 {
    match tls {
        SmtpTls::Starttls => 587,
        SmtpTls::Tls => 465,
        SmtpTls::None => 25,
    }
}

fn value(request: &Request, response: &Response) -> Result<Value, String> {
    let recipient =
        || response.header(RECIPIENT).map(|address| format!(" (recipient {address})")).unwrap_or_default();
    let said = || format!("{} {}{}", response.status, content::excerpt(response), recipient());
    match (response.status, request) {
        (200..=299, Request::Smtp(SmtpRequest { message_id, .. })) => {
            let text = String::from_utf8_lossy(&response.body);
            Ok(json!({ "id": message_id, "message_id": message_id, "response": text }))
        }
        (500..=599, _) => Err(format!("permanent: {}", said())),
        _ => Err(format!("temporary: {}", said())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replied(status: u16, body: &str) -> Result<Value, String> {
        let payload =
            json!({ "from_address": "a@x.test", "to_address": "b@x.test", "subject": "s", "text": "t" });
        let server = MailServer { host: "x.test".into(), port: 25, tls: SmtpTls::None };
        let request = Request::Smtp(message::build(&payload, "key", server).unwrap());
        value(&request, &Response { status, body: body.into(), ..Response::default() })
    }

    #[test]
    fn successes_and_failures() {
        let (id, response) = ("<key@x.test>", "2.0.0 queued as 1");
        assert_eq!(replied(250, response), Ok(json!({ "id": id, "message_id": id, "response": response })));
        assert_eq!(replied(550, "5.1.1 no\nsuch user"), Err("permanent: 550 5.1.1 no such user".into()));
        assert_eq!(replied(451, "later"), Err("temporary: 451 later".into()));
        let help = "5.7.26 see https://support.test/answer/81126?hl=en#authentication";
        assert_eq!(replied(550, help), Err(format!("permanent: 550 {help}")));
    }

    #[test]
    fn ports() {
        let ports = [SmtpTls::Starttls, SmtpTls::Tls, SmtpTls::None].map(usual_port);
        assert_eq!(ports, [587, 465, 25]);
    }
}
