//! The settings of the server that interfaces need. The user of this crate implements the trait.

use crate::request::SmtpTls;

/// The settings and secrets, with their current values.
pub trait Settings {
    fn resend(&self) -> ResendSettings;
    fn smtp(&self) -> SmtpSettings;
    fn twilio(&self) -> TwilioSettings;

    /// The value of a secret that has a setting of its own.
    fn secret(&self, secret: SecretSetting) -> Option<String>;

    /// The value of the secret that a provider's row names.
    ///
    /// # Errors
    /// If there is no such secret, or it cannot be read.
    fn named_secret(&self, name: &str) -> Result<String, String>;
}

/// The secrets that have a setting of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretSetting {
    ResendApiKey,
    SmtpPassword,
    TwilioAuthToken,
}

#[derive(Clone, Debug, Default)]
pub struct ResendSettings {
    pub base_url: String,
}

/// The mail server. An empty text means that the setting is not set.
#[derive(Clone, Debug, Default)]
pub struct SmtpSettings {
    pub host: String,
    /// 0 stands for the usual port of `tls`.
    pub port: u16,
    pub tls: SmtpTls,
    pub user: String,
}

/// The account at Twilio. An empty text means that the setting is not set.
#[derive(Clone, Debug, Default)]
pub struct TwilioSettings {
    pub account_sid: String,
    pub api_key_sid: String,
    pub from: String,
    pub base_url: String,
}

/// Settings for unit tests: every text is empty, and no secret is set.
#[cfg(test)]
#[derive(Default)]
pub struct TestSettings {
    pub smtp: SmtpSettings,
    pub twilio: TwilioSettings,
    /// The value of every secret.
    pub secret: Option<String>,
}

#[cfg(test)]
impl Settings for TestSettings {
    fn resend(&self) -> ResendSettings {
        ResendSettings { base_url: "https://api.resend.test".into() }
    }

    fn smtp(&self) -> SmtpSettings {
        self.smtp.clone()
    }

    fn twilio(&self) -> TwilioSettings {
        self.twilio.clone()
    }

    fn secret(&self, _secret: SecretSetting) -> Option<String> {
        self.secret.clone()
    }

    fn named_secret(&self, name: &str) -> Result<String, String> {
        self.secret.clone().ok_or_else(|| format!("there is no secret \"{name}\""))
    }
}
