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
        short: c"API key for Resend.",
        long: c"Never shown. Empty: the server's environment variable RESEND_API_KEY.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    environment: "RESEND_API_KEY",
    rule: PhantomData,
};

pub static RESEND_BASE_URL: Text = Text {
    about: About {
        name: c"pg_errand.resend_base_url",
        short: c"Where Resend's interface is.",
        long: c"http or https, without a path or query behind the base.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"https://api.resend.com")),
    check: Some(check_hook::<BaseUrl>),
};

pub static EMAIL_PROVIDER: Choice<EmailProvider> = Choice {
    about: About {
        name: c"pg_errand.email_provider",
        short: c"Who sends e-mail.",
        long: c"resend: Resend. smtp: the mail server pg_errand.smtp_host.",
        context: Context::Superuser,
    },
    value: GucSetting::<EmailProvider>::new(EmailProvider::Resend),
};

pub static SMTP_HOST: Text = Text {
    about: About {
        name: c"pg_errand.smtp_host",
        short: c"Mail server that takes e-mails, if the provider is smtp.",
        long: c"A name or an address; any network will do.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: Some(check_hook::<HostName>),
};

pub static SMTP_PORT: Int = Int {
    about: About {
        name: c"pg_errand.smtp_port",
        short: c"Port of the mail server.",
        long: c"0: as pg_errand.smtp_tls has it, 465 for tls, 587 for starttls, 25 for none.",
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
        short: c"How the connection to the mail server is encrypted.",
        long: c"tls: from the start. starttls: after a greeting in plain text; a server that cannot do it gets no mail. \
            none: not at all, the password included.",
        context: Context::Superuser,
    },
    value: GucSetting::<SmtpTls>::new(SmtpTls::Tls),
};

pub static SMTP_EHLO_NAME: Text = Text {
    about: About {
        name: c"pg_errand.smtp_ehlo_name",
        short: c"Name by which the mail server is greeted (EHLO).",
        long:
            c"A name in the domain name system, or an address such as [192.0.2.1]. Empty: this host's name.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: Some(check_hook::<EhloName>),
};

pub static SMTP_USER: Text = Text {
    about: About {
        name: c"pg_errand.smtp_user",
        short: c"User at the mail server.",
        long: c"Empty: nobody logs in.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: None,
};

pub static SMTP_PASSWORD: Secret<1> = Secret {
    about: About {
        name: c"pg_errand.smtp_password",
        short: c"Password for the mail server.",
        long: c"Never shown. Empty: the server's environment variable SMTP_PASSWORD.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    environment: "SMTP_PASSWORD",
    rule: PhantomData,
};

pub static SMS_PROVIDER: Choice<SmsProvider> = Choice {
    about: About {
        name: c"pg_errand.sms_provider",
        short: c"Who sends text messages.",
        long: c"simulated: nobody; number and text are logged (at info), and the message counts as sent. twilio: Twilio.",
        context: Context::Superuser,
    },
    value: GucSetting::<SmsProvider>::new(SmsProvider::Simulated),
};

pub static TWILIO_ACCOUNT_SID: Text = Text {
    about: About {
        name: c"pg_errand.twilio_account_sid",
        short: c"Account at Twilio.",
        long: c"AC and 32 hexadecimal digits.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: Some(check_hook::<AccountSid>),
};

pub static TWILIO_API_KEY_SID: Text = Text {
    about: About {
        name: c"pg_errand.twilio_api_key_sid",
        short: c"API key of the account at Twilio.",
        long: c"SK and 32 hexadecimal digits; pg_errand.twilio_auth_token is the secret of the key then. Empty: the token \
            is that of the account.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: Some(check_hook::<ApiKeySid>),
};

pub static TWILIO_AUTH_TOKEN: Secret<2> = Secret {
    about: About {
        name: c"pg_errand.twilio_auth_token",
        short: c"Token for Twilio.",
        long: c"Never shown. Empty: the server's environment variable TWILIO_AUTH_TOKEN.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    environment: "TWILIO_AUTH_TOKEN",
    rule: PhantomData,
};

pub static TWILIO_FROM: Text = Text {
    about: About {
        name: c"pg_errand.twilio_from",
        short: c"Number, sender or messaging provider that text messages come from.",
        long: c"A messaging provider is MG and 32 hexadecimal digits. A payload may name another one as from_number.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: None,
};

pub static TWILIO_BASE_URL: Text = Text {
    about: About {
        name: c"pg_errand.twilio_base_url",
        short: c"Where Twilio's interface is.",
        long: c"http or https, without a path or query behind the base.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"https://api.twilio.com")),
    check: Some(check_hook::<BaseUrl>),
};

pub static SECRETS: Secret<3, SecretList> = Secret {
    about: About {
        name: c"pg_errand.secrets",
        short: c"Secrets of providers, by name.",
        long: c"A JSON object of texts. Never shown. What is not in it is looked for in pg_errand.secrets_dir, then in the server's environment.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    environment: "PG_ERRAND_SECRETS",
    rule: PhantomData,
};

pub static SECRETS_DIR: Text = Text {
    about: About {
        name: c"pg_errand.secrets_dir",
        short: c"Directory with a file for each secret.",
        long: c"As Docker, Kubernetes and systemd mount them. Read for each call, so that a new one counts at once.",
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
