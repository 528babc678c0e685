//! Credentials and signatures of requests, as a provider's row asks for them.

use crate::credential::{Credential, Placed};
use crate::key;
use crate::provider_row::{Auth, ProviderRow};
use crate::request::{HttpRequest, Request};
use crate::settings::{SecretSetting, Settings};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::time::{SystemTime, UNIX_EPOCH};

/// The headers of signed webhooks: <https://github.com/standard-webhooks/standard-webhooks>.
const WEBHOOK_ID: &str = "webhook-id";
const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
const WEBHOOK_SIGNATURE: &str = "webhook-signature";
/// The smallest signing key in bytes. The specification asks for 24 to 64.
const MIN_KEY: usize = 16;

/// Returns the credentials that are added to a request when it is sent.
///
/// # Errors
/// If a secret is missing or invalid.
pub fn credentials(
    provider: &ProviderRow,
    settings: &dyn Settings,
    request: &Request,
) -> Result<Vec<Credential>, String> {
    let Some(name) = secret_name(provider) else {
        return Ok(match (provider.auth, &provider.auth_name) {
            (Auth::Basic, Some(user)) => vec![basic(user, String::new())],
            _ => vec![],
        });
    };
    let secret = settings.named_secret(name)?;
    let place = provider.auth_name.clone().unwrap_or_default();
    let one = |placed, secrets| Ok(vec![Credential { placed, secrets }]);
    match provider.auth {
        Auth::None => Ok(vec![]),
        Auth::Bearer => {
            Ok(vec![Credential::header("Authorization", format!("Bearer {secret}"), vec![secret])])
        }
        Auth::Basic if provider.auth_name.is_none() => Ok(vec![user_only(&secret)]),
        Auth::Basic => Ok(vec![basic(&place, secret)]),
        Auth::Header => one(Placed::Header { name: place, value: secret.clone() }, vec![secret]),
        Auth::Query => one(Placed::Query { name: place, value: secret.clone() }, vec![secret]),
        Auth::Webhook => match request {
            Request::Http(request) => signed(request, &secret, name),
            Request::Smtp(_) | Request::Local { .. } => Ok(vec![]),
        },
    }
}

/// The name of the secret that is sent with each request; `None` if there is none.
pub fn secret_name(provider: &ProviderRow) -> Option<&str> {
    provider.secret.as_deref().filter(|_| provider.auth != Auth::None)
}

/// Returns the secret of an interface that has a setting for it: the secret that the row names, or else the setting's.
/// The setting's secret is only sent to the base URL of the interface's own setting.
///
/// # Errors
/// If the secret is missing. `missing` is the message for a missing setting.
pub fn secret_or_setting(
    provider: &ProviderRow,
    settings: &dyn Settings,
    setting: SecretSetting,
    missing: &str,
) -> Result<String, String> {
    match (&provider.secret, &provider.base_url) {
        (Some(name), _) => settings.named_secret(name),
        (None, None) => settings.secret(setting).ok_or_else(|| missing.to_owned()),
        (None, Some(_)) => Err("a provider with a base URL of its own needs a secret of its own".to_owned()),
    }
}

/// Basic authentication (RFC 7617).
pub fn basic(user: &str, password: String) -> Credential {
    let both = STANDARD.encode(format!("{user}:{password}"));
    let secrets = if password.is_empty() { vec![] } else { vec![password, both.clone()] };
    Credential::header("Authorization", format!("Basic {both}"), secrets)
}

/// Basic authentication with a secret user and no password, as some APIs take their keys.
fn user_only(user: &str) -> Credential {
    let both = STANDARD.encode(format!("{user}:"));
    Credential::header("Authorization", format!("Basic {both}"), vec![user.to_owned(), both])
}

/// User and password for a mail server, with the forms in which they are sent (RFC 4616).
pub fn login(user: String, password: String) -> Credential {
    let secrets =
        vec![password.clone(), STANDARD.encode(&password), STANDARD.encode(format!("\0{user}\0{password}"))];
    Credential { placed: Placed::Login { user, password }, secrets }
}

/// Returns the headers that are stored with the request, because they stay the same when it is sent again.
///
/// # Errors
/// If the key contains a dot, which separates the parts of the signed text.
pub fn stored_headers(provider: &ProviderRow, key: &str) -> Result<Option<(String, String)>, String> {
    match provider.auth {
        Auth::Webhook if key.contains('.') => {
            Err(format!("{} cannot hold \".\" with auth webhook", key::FIELD))
        }
        Auth::Webhook => Ok(Some((WEBHOOK_ID.into(), format!("msg_{key}")))),
        _ => Ok(None),
    }
}

/// True if a payload cannot set this header, because it carries credentials.
pub fn owns_header(provider: &ProviderRow, name: &str) -> bool {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match provider.auth {
        Auth::None => false,
        Auth::Bearer | Auth::Basic => is("Authorization"),
        Auth::Header | Auth::Query => is("Authorization") || provider.auth_name.as_deref().is_some_and(is),
        Auth::Webhook => is(WEBHOOK_ID) || is(WEBHOOK_TIMESTAMP) || is(WEBHOOK_SIGNATURE),
    }
}

/// Signs a webhook. While a secret is being replaced, it may consist of several ones, separated by blanks; each of them
/// makes a signature.
fn signed(request: &HttpRequest, secret: &str, name: &str) -> Result<Vec<Credential>, String> {
    let id = request.headers.iter().find(|(known, _)| known == WEBHOOK_ID).map_or("", |(_, id)| id);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let body = request.body.bytes()?;
    let keys: Option<Vec<_>> = secret.split_whitespace().map(signing_key).collect();
    let keys = keys.filter(|all| !all.is_empty()).ok_or_else(|| {
        format!(
            "the secret \"{name}\" cannot sign webhooks: it has to be \"whsec_\" and base64 of at least {MIN_KEY} bytes"
        )
    })?;
    let signatures = keys.iter().map(|key| signature(key, id, now, &body)).collect::<Result<Vec<_>, _>>()?;
    let secrets = secret.split_whitespace().map(str::to_owned).collect();
    Ok(vec![
        Credential::header(WEBHOOK_TIMESTAMP, now.to_string(), vec![]),
        Credential::header(WEBHOOK_SIGNATURE, signatures.join(" "), secrets),
    ])
}

/// Decodes the key in a secret. `None` if it could be guessed because it is too short.
fn signing_key(secret: &str) -> Option<Vec<u8>> {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).ok()?;
    (key.len() >= MIN_KEY).then_some(key)
}

fn signature(key: &[u8], id: &str, timestamp: u64, body: &[u8]) -> Result<String, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|error| error.to_string())?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_are_signed_as_the_specification_s_libraries_do() {
        // The test vector of the reference libraries.
        let signature = signature(
            &signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature.as_deref(), Ok("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn a_webhook_is_signed_with_a_key_of_sixteen_bytes_at_least() {
        let sixteen = STANDARD.encode([7; 16]);
        let signed = |secret: &str| signed(&HttpRequest::default(), secret, "hook");
        assert!(signed(&sixteen).is_ok() && signed(&format!("whsec_{sixteen} {sixteen}")).is_ok());
        let short = STANDARD.encode([7; 15]);
        for bad in [
            "",
            " ",
            "whsec_",
            "whsec_whsec_",
            "whsec_?",
            &short,
            &format!("whsec_{short}"),
            &format!("{sixteen} whsec_"),
        ] {
            let error = signed(bad).unwrap_err();
            assert!(error.contains("\"hook\"") && error.contains("16 bytes"), "{bad}: {error}");
            assert!(!error.contains(&short) && !error.contains(&sixteen), "{error}");
        }
    }

    #[test]
    fn user_and_password() {
        let Credential { placed, secrets } = basic("Aladdin", "open sesame".into());
        let value = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_owned();
        assert_eq!(placed, Placed::Header { name: "Authorization".into(), value });
        assert_eq!(secrets, ["open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]);
        // An empty text is not a secret, since it would be redacted everywhere.
        let Credential { placed, secrets } = basic("Aladdin", String::new());
        let value = "Basic QWxhZGRpbjo=".to_owned();
        assert_eq!(placed, Placed::Header { name: "Authorization".into(), value: value.clone() });
        assert!(secrets.is_empty());
        let Credential { placed, secrets } = user_only("Aladdin");
        assert_eq!(placed, Placed::Header { name: "Authorization".into(), value });
        assert_eq!(secrets, ["Aladdin", "QWxhZGRpbjo="]);
    }
}
