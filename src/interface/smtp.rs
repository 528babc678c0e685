//! SMTP: e-mail by any mail server (RFC 5321).

use super::{Answer, Credential, Interface, Provider, RECIPIENT, Reply, Request, auth, message, reply};
use crate::config::{SMTP_HOST, SMTP_PASSWORD, SMTP_PORT, SMTP_TLS, SMTP_USER, SmtpTls};
use crate::hosts::host_name;
use crate::secret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

pub struct Smtp;

/// A mail, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SmtpRequest {
    pub server: MailServer,
    /// The envelope: who gets the mail, whatever its headers say.
    pub from: String,
    pub to: Vec<String>,
    /// Headers and body, by base64.
    pub message: String,
    pub message_id: String,
}

/// Where mail goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailServer {
    pub host: String,
    pub port: u16,
    pub tls: SmtpTls,
}

impl Interface for Smtp {
    fn name(&self) -> &'static str {
        "smtp"
    }

    fn check_settings(&self, _provider: &Provider) -> Result<(), String> {
        server().map(drop)
    }

    fn request(&self, _provider: &Provider, payload: &Value, key: &str) -> Result<Request, String> {
        message::build(payload, key, server()?).map(Request::Smtp)
    }

    fn credentials(&self, provider: &Provider, request: &Request) -> Result<Vec<Credential>, String> {
        // Whoever can write stored requests must not get the password sent to another server.
        let now = server()?;
        match request {
            Request::Smtp(request) if request.server == now => {}
            Request::Smtp(request) => return Err(moved(&request.server, &now)),
            _ => return Err("the request is no mail".into()),
        }
        let user = provider.auth_name.clone().unwrap_or_else(|| SMTP_USER.get());
        if user.is_empty() {
            return Ok(Vec::new());
        }
        let password = match &provider.secret {
            Some(name) => secret::find(name)?,
            None => SMTP_PASSWORD.get().ok_or(
                "no password for the mail server: set pg_errand.smtp_password, or SMTP_PASSWORD in the server's environment",
            )?,
        };
        Ok(vec![auth::login(user, password)])
    }

    fn answer(&self, _provider: &Provider, request: &Request, reply: &Reply) -> Result<Answer, String> {
        answer(request, reply).map(Answer::Value)
    }

    /// No mail server knows such keys: what was cut off is not sent again.
    fn remembers_keys_for(&self, _provider: &Provider) -> Duration {
        Duration::ZERO
    }

    fn customer_of_settings(&self) -> String {
        format!("{} {} {}", SMTP_HOST.get(), SMTP_PORT.get(), SMTP_USER.get())
    }
}

fn server() -> Result<MailServer, String> {
    let (host, tls) = (SMTP_HOST.get(), SMTP_TLS.get());
    if host.is_empty() {
        return Err("no mail server: set pg_errand.smtp_host".into());
    }
    let port = match u16::try_from(SMTP_PORT.get()) {
        Ok(port) if port > 0 => port,
        _ => usual_port(tls),
    };
    Ok(MailServer { host: host_name(&host)?, port, tls })
}

/// What has changed since a mail was made.
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

fn answer(request: &Request, reply: &Reply) -> Result<Value, String> {
    let recipient =
        || reply.header(RECIPIENT).map(|address| format!(" (recipient {address})")).unwrap_or_default();
    let said = || format!("{} {}{}", reply.status, reply::excerpt(reply), recipient());
    match (reply.status, request) {
        (200..=299, Request::Smtp(SmtpRequest { message_id, .. })) => {
            let response = String::from_utf8_lossy(&reply.body);
            Ok(json!({ "id": message_id, "message_id": message_id, "response": response }))
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
        answer(&request, &Reply { status, body: body.into(), ..Reply::default() })
    }

    #[test]
    fn answers_and_failures() {
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
