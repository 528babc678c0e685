//! Providers that have settings of their own, and secrets.

use super::check::{AccountSid, ApiKeySid, BaseUrl, Directory, EhloName, HostName, SecretList};
use crate::pg::guc::{About, Choice, Context, Int, Text, Unit, check_hook};
use crate::pg::secret::Secret;
use pgrx::guc::{GucSetting, PostgresGucEnum};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

pub static RESEND_API_KEY: Secret<0> = Secret {
    about: About {
        name: c"pg_errand.resend_api_key",
        short: c"Sets the API key for Resend.",
        long: c"Never shown. If empty, the server's environment variable RESEND_API_KEY is used.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    environment: "RESEND_API_KEY",
    rule: PhantomData,
};

pub static RESEND_BASE_URL: Text = Text {
    about: About {
        name: c"pg_errand.resend_base_url",
        short: c"Sets the base URL of the Resend API.",
        long: c"An http or https URL without a query; the paths of the API are appended to it.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"https://api.resend.com")),
    check: Some(check_hook::<BaseUrl>),
};

pub static EMAIL_PROVIDER: Choice<EmailProvider> = Choice {
    about: About {
        name: c"pg_errand.email_provider",
        short: c"Selects the provider that sends e-mail.",
        long: c"resend: Resend. smtp: the mail server pg_errand.smtp_host.",
        context: Context::Superuser,
    },
    value: GucSetting::<EmailProvider>::new(EmailProvider::Resend),
};

pub static SMTP_HOST: Text = Text {
    about: About {
        name: c"pg_errand.smtp_host",
        short: c"Sets the mail server that the provider smtp uses.",
        long: c"A host name or an address, which may be in any network.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: Some(check_hook::<HostName>),
};

pub static SMTP_PORT: Int = Int {
    about: About {
        name: c"pg_errand.smtp_port",
        short: c"Sets the port of the mail server.",
        long:
            c"0 selects the standard port for pg_errand.smtp_tls: 465 for tls, 587 for starttls, 25 for none.",
        context: Context::Superuser,
    },
    value: GucSetting::<i32>::new(0),
    min: 0,
    max: 65_535,
    unit: Unit::None,
};

pub static SMTP_TLS: Choice<SmtpTls> = Choice {
    about: About {
        name: c"pg_errand.smtp_tls",
        short: c"Selects how the connection to the mail server is encrypted.",
        long: c"tls: from the start. starttls: after a greeting in plain text; no mail is sent if the server does \
            not support it. none: not at all, which exposes the password.",
        context: Context::Superuser,
    },
    value: GucSetting::<SmtpTls>::new(SmtpTls::Tls),
};

pub static SMTP_EHLO_NAME: Text = Text {
    about: About {
        name: c"pg_errand.smtp_ehlo_name",
        short: c"Sets the name that is sent to the mail server in EHLO.",
        long: c"A domain name, or an address such as [192.0.2.1]. If empty, the name of this host is used.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: Some(check_hook::<EhloName>),
};

pub static SMTP_USER: Text = Text {
    about: About {
        name: c"pg_errand.smtp_user",
        short: c"Sets the user name for the mail server.",
        long: c"If empty, no authentication takes place.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: None,
};

pub static SMTP_PASSWORD: Secret<1> = Secret {
    about: About {
        name: c"pg_errand.smtp_password",
        short: c"Sets the password for the mail server.",
        long: c"Never shown. If empty, the server's environment variable SMTP_PASSWORD is used.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    environment: "SMTP_PASSWORD",
    rule: PhantomData,
};

pub static SMS_PROVIDER: Choice<SmsProvider> = Choice {
    about: About {
        name: c"pg_errand.sms_provider",
        short: c"Selects the provider that sends text messages.",
        long: c"simulated: no message is sent; number and text are logged at level info, and the message counts as \
            sent. twilio: Twilio.",
        context: Context::Superuser,
    },
    value: GucSetting::<SmsProvider>::new(SmsProvider::Simulated),
};

pub static TWILIO_ACCOUNT_SID: Text = Text {
    about: About {
        name: c"pg_errand.twilio_account_sid",
        short: c"Sets the SID of the Twilio account.",
        long: c"AC and 32 hexadecimal digits.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: Some(check_hook::<AccountSid>),
};

pub static TWILIO_API_KEY_SID: Text = Text {
    about: About {
        name: c"pg_errand.twilio_api_key_sid",
        short: c"Sets the SID of an API key of the Twilio account.",
        long: c"SK and 32 hexadecimal digits. pg_errand.twilio_auth_token is then the secret of this key. If empty, \
            it is the token of the account.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: Some(check_hook::<ApiKeySid>),
};

pub static TWILIO_AUTH_TOKEN: Secret<2> = Secret {
    about: About {
        name: c"pg_errand.twilio_auth_token",
        short: c"Sets the authentication token for Twilio.",
        long: c"Never shown. If empty, the server's environment variable TWILIO_AUTH_TOKEN is used.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    environment: "TWILIO_AUTH_TOKEN",
    rule: PhantomData,
};

pub static TWILIO_FROM: Text = Text {
    about: About {
        name: c"pg_errand.twilio_from",
        short: c"Sets the number, sender name or messaging service that text messages come from.",
        long: c"A messaging service is MG and 32 hexadecimal digits. A payload may name another sender as \
            from_number.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: None,
};

pub static TWILIO_BASE_URL: Text = Text {
    about: About {
        name: c"pg_errand.twilio_base_url",
        short: c"Sets the base URL of the Twilio API.",
        long: c"An http or https URL without a query; the paths of the API are appended to it.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"https://api.twilio.com")),
    check: Some(check_hook::<BaseUrl>),
};

pub static SECRETS: Secret<3, SecretList> = Secret {
    about: About {
        name: c"pg_errand.secrets",
        short: c"Sets secrets that providers refer to by name.",
        long: c"A JSON object of strings. Never shown. A secret that it does not contain is looked up in \
            pg_errand.secrets_dir, then in the server's environment.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    environment: "PG_ERRAND_SECRETS",
    rule: PhantomData,
};

pub static SECRETS_DIR: Text = Text {
    about: About {
        name: c"pg_errand.secrets_dir",
        short: c"Sets the directory that holds a file for each secret.",
        long:
            c"Docker, Kubernetes and systemd mount secrets like this. Files are read for each call, so that \
            changes take effect immediately.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: Some(check_hook::<Directory>),
};

#[derive(Clone, Copy, PartialEq, Eq, Debug, PostgresGucEnum)]
pub enum EmailProvider {
    #[name = c"resend"]
    Resend,
    #[name = c"smtp"]
    Smtp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, PostgresGucEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpTls {
    #[name = c"starttls"]
    Starttls,
    #[name = c"tls"]
    Tls,
    #[name = c"none"]
    None,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, PostgresGucEnum)]
pub enum SmsProvider {
    #[name = c"simulated"]
    Simulated,
    #[name = c"twilio"]
    Twilio,
}
