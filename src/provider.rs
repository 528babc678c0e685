//! Provides [`pg_errand_calls`] with what it needs of the server: settings, secrets and limits.

use crate::config::{self, SmtpTls};
use crate::secret;
use crate::shared::Terms;
use pg_errand_calls::credential::Credentials;
use pg_errand_calls::prepared::Prepared;
use pg_errand_calls::provider::Provider;
use pg_errand_calls::request::{self, Request};
use pg_errand_calls::settings::{ResendSettings, SecretSetting, Settings, SmtpSettings, TwilioSettings};
use serde_json::Value;
use std::sync::Arc;

/// The settings of this process. They may only be read on the main thread.
struct ServerSettings;

impl Settings for ServerSettings {
    fn resend(&self) -> ResendSettings {
        ResendSettings { base_url: config::RESEND_BASE_URL.get() }
    }

    fn smtp(&self) -> SmtpSettings {
        SmtpSettings {
            host: config::SMTP_HOST.get(),
            port: u16::try_from(config::SMTP_PORT.get()).unwrap_or_default(),
            tls: match config::SMTP_TLS.get() {
                SmtpTls::Starttls => request::SmtpTls::Starttls,
                SmtpTls::Tls => request::SmtpTls::Tls,
                SmtpTls::None => request::SmtpTls::None,
            },
            user: config::SMTP_USER.get(),
        }
    }

    fn twilio(&self) -> TwilioSettings {
        TwilioSettings {
            account_sid: config::TWILIO_ACCOUNT_SID.get(),
            api_key_sid: config::TWILIO_API_KEY_SID.get(),
            from: config::TWILIO_FROM.get(),
            base_url: config::TWILIO_BASE_URL.get(),
        }
    }

    fn secret(&self, secret: SecretSetting) -> Option<String> {
        match secret {
            SecretSetting::ResendApiKey => config::RESEND_API_KEY.get(),
            SecretSetting::SmtpPassword => config::SMTP_PASSWORD.get(),
            SecretSetting::TwilioAuthToken => config::TWILIO_AUTH_TOKEN.get(),
        }
    }

    fn named_secret(&self, name: &str) -> Result<String, String> {
        secret::find(name)
    }
}

/// Checks whether the settings allow requests to this provider.
///
/// # Errors
/// If a setting is missing or wrong.
pub fn check_settings(provider: &Provider) -> Result<(), String> {
    provider.interface.check_settings(provider, &ServerSettings)
}

/// Builds a request and its idempotency key. `key`: that of an earlier request, if the provider may have carried it out.
///
/// # Errors
/// If the payload or the settings are wrong.
pub fn prepare(provider: Arc<Provider>, payload: &Value, key: Option<&str>) -> Result<Prepared, String> {
    Prepared::new(provider, &ServerSettings, payload, key)
}

/// Fetches the credentials with which a request is sent.
///
/// # Errors
/// If a secret is missing, or the request was built for another base URL.
pub fn credentials(provider: &Provider, request: &Request) -> Result<Credentials, String> {
    provider.credentials(request, &ServerSettings)
}

/// Checks whether the secrets of a provider can be looked up, by any process of the server.
///
/// # Errors
/// If one cannot; the message does not contain it.
pub fn check_secrets(provider: &Provider) -> Result<(), String> {
    provider.check_secrets(&ServerSettings)
}

/// The base URL of a provider, if a superuser has chosen it.
pub fn trusted_base_url(provider: &Provider) -> Option<String> {
    provider.trusted_base_url(&ServerSettings)
}

/// The limits of a provider, and the account that its requests count for.
pub fn terms(provider: &Provider) -> Terms {
    let quota = provider.limits.quota();
    Terms {
        account: provider.account(&ServerSettings),
        interval: quota.interval,
        burst: quota.burst,
        max_in_flight: quota.max_in_flight,
        breaker_threshold: quota.breaker_threshold,
        breaker_cooldown: quota.breaker_cooldown,
    }
}

/// The account that a request counts for: that of its provider, or of its host.
pub fn account_of(provider: &Provider, request: &Request) -> u64 {
    provider.account_of(request, &ServerSettings)
}
