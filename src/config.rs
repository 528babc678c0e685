//! All settings. An entry here is all it takes (a secret also needs a place in `pg::secret`);
//! `docs/configuration.md` is made from them.

use crate::call::{AllowList, Network};
use crate::pg::guc::{About, Check, Choice, Context, Int, Setting, Text, Unit, check_hook};
use crate::pg::guc::{reserve_prefix, split_list};
use crate::pg::secret::Secret;
use crate::secret;
use pgrx::guc::{GucSetting, PostgresGucEnum};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

static ALL: &[&'static dyn Setting] = &[
    &DATABASES,
    &ROLE,
    &CONCURRENCY,
    &MAX_WORKERS,
    &POLL_INTERVAL,
    &MAX_IDLE_TIME,
    &MAX_IN_FLIGHT,
    &FLUSH_INTERVAL,
    &LEASE_DURATION,
    &HANDLER_TIMEOUT,
    &HTTP_TIMEOUT,
    &HTTP_ALLOWED_HOSTS,
    &HTTP_PROXY,
    &HTTP_CA_FILE,
    &HTTP_MAX_ANSWER_SIZE,
    &HTTP_MAX_REQUEST_SIZE,
    &RETENTION,
    &LOG_LEVEL,
    &RESEND_API_KEY,
    &RESEND_BASE_URL,
    &EMAIL_PROVIDER,
    &SMTP_HOST,
    &SMTP_PORT,
    &SMTP_TLS,
    &SMTP_USER,
    &SMTP_PASSWORD,
    &SMS_PROVIDER,
    &TWILIO_ACCOUNT_SID,
    &TWILIO_AUTH_TOKEN,
    &TWILIO_FROM,
    &TWILIO_BASE_URL,
    &SECRETS,
    &SECRETS_DIR,
];

pub fn init() {
    ALL.iter().for_each(|setting| setting.define());
    reserve_prefix(c"pg_errand");
}

pub static DATABASES: Text = Text {
    about: About {
        name: c"pg_errand.databases",
        short: c"Databases whose tasks are worked off.",
        long: c"Comma-separated names. Empty: every database that has the extension, templates excepted.",
        context: Context::Sighup,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: Some(check_hook::<NameList>),
};

pub static ROLE: Text = Text {
    about: About {
        name: c"pg_errand.role",
        short: c"Role that workers connect as and handlers run as.",
        long: c"Whoever may set this can have handlers run with any role's rights, a superuser's included.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"pg_errand_worker")),
    check: Some(check_hook::<RoleName>),
};

pub static CONCURRENCY: Int = Int {
    about: About {
        name: c"pg_errand.concurrency",
        short: c"Worker processes per database.",
        long: c"0 pauses: tasks wait until it is raised again.",
        context: Context::Superuser,
    },
    value: GucSetting::<i32>::new(2),
    min: 0,
    max: crate::shared::MAX_SLOTS as i32,
    unit: Unit::None,
};

pub static MAX_WORKERS: Int = Int {
    about: About {
        name: c"pg_errand.max_workers",
        short: c"Worker processes of all databases together.",
        long: c"They and the launcher are taken from max_worker_processes. When short, each database with work gets one before any gets a second.",
        context: Context::Sighup,
    },
    value: GucSetting::<i32>::new(4),
    min: 0,
    max: crate::shared::MAX_SLOTS as i32,
    unit: Unit::None,
};

pub static POLL_INTERVAL: Int = Int {
    about: About {
        name: c"pg_errand.poll_interval",
        short: c"How often an idle worker looks for work that nobody announced.",
        long: c"Only a fallback: a commit wakes an idle worker at once.",
        context: Context::Superuser,
    },
    value: GucSetting::<i32>::new(5_000),
    min: 10,
    max: i32::MAX,
    unit: Unit::Milliseconds,
};

pub static MAX_IDLE_TIME: Int = Int {
    about: About {
        name: c"pg_errand.max_idle_time",
        short: c"How long a worker process stays without work.",
        long: c"0 keeps it for ever. Work brings workers back at once.",
        context: Context::Superuser,
    },
    value: GucSetting::<i32>::new(30_000),
    min: 0,
    max: i32::MAX,
    unit: Unit::Milliseconds,
};

pub static MAX_IN_FLIGHT: Int = Int {
    about: About {
        name: c"pg_errand.max_in_flight",
        short: c"Provider calls in flight per worker process.",
        long: c"While that many are waited for, the worker starts only tasks that need no call, and calls of providers that have few under way.",
        context: Context::Superuser,
    },
    value: GucSetting::<i32>::new(64),
    min: 1,
    max: 1_024,
    unit: Unit::None,
};

pub static FLUSH_INTERVAL: Int = Int {
    about: About {
        name: c"pg_errand.flush_interval",
        short: c"Pause between two writes to the disk of what workers have ended; 0: as short as makes sense, -1: PostgreSQL's WAL writer does it.",
        long: c"While workers are busy, the launcher makes the ends of tasks durable, many by one write. A crash of the \
            server before undoes a task's effects and its end together, and it runs again. Requests to providers and \
            their answers are durable before they are used, whatever this is.",
        context: Context::Sighup,
    },
    value: GucSetting::<i32>::new(0),
    min: -1,
    max: 60_000,
    unit: Unit::Milliseconds,
};

pub static LEASE_DURATION: Int = Int {
    about: About {
        name: c"pg_errand.lease_duration",
        short: c"How long a worker outside the database may take for a task.",
        long: c"After it the task is handed out again. 0: no lease; a task counts as finished when it is handed out.",
        context: Context::Superuser,
    },
    value: GucSetting::<i32>::new(300_000),
    min: 0,
    max: i32::MAX,
    unit: Unit::Milliseconds,
};

pub static HANDLER_TIMEOUT: Int = Int {
    about: About {
        name: c"pg_errand.handler_timeout",
        short: c"Time limit for one handler call.",
        long: c"A handler that takes longer is interrupted and fails. 0: no limit.",
        context: Context::Superuser,
    },
    value: GucSetting::<i32>::new(0),
    min: 0,
    max: i32::MAX,
    unit: Unit::Milliseconds,
};

pub static HTTP_TIMEOUT: Int = Int {
    about: About {
        name: c"pg_errand.http_timeout",
        short: c"Time limit for one provider call.",
        long: c"From the start of the call to the last byte of the answer, name look-up and connecting included.",
        context: Context::Superuser,
    },
    value: GucSetting::<i32>::new(30_000),
    min: 1,
    max: 3_600_000,
    unit: Unit::Milliseconds,
};

pub static HTTP_ALLOWED_HOSTS: Text = Text {
    about: About {
        name: c"pg_errand.http_allowed_hosts",
        short: c"Hosts that requests may go to.",
        long: c"Comma-separated: public (every public address), * (all), addresses, networks (10.0.0.0/8), host names, \
            *.example.com; each with :port or without. A listed name may have any address. The base URL of a service \
            that a superuser has set need not be listed.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"public")),
    check: Some(check_hook::<Hosts>),
};

pub static HTTP_PROXY: Text = Text {
    about: About {
        name: c"pg_errand.http_proxy",
        short: c"Proxy that requests go through.",
        long: c"http://host:port or https://host:port; it has to allow CONNECT, and it resolves names. Empty: none. The \
            server's environment (HTTP_PROXY and the like) is never looked at.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: Some(check_hook::<ProxyUrl>),
};

pub static HTTP_CA_FILE: Text = Text {
    about: About {
        name: c"pg_errand.http_ca_file",
        short: c"Certificates of authorities that are trusted besides those of the system.",
        long: c"Absolute path of a PEM file; a change of the file takes effect with the next request. Empty: none.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: Some(check_hook::<AbsolutePath>),
};

pub static HTTP_MAX_ANSWER_SIZE: Int = Int {
    about: About {
        name: c"pg_errand.http_max_answer_size",
        short: c"Largest body of an answer.",
        long: c"A call whose answer is larger fails.",
        context: Context::Superuser,
    },
    value: GucSetting::<i32>::new(1024 * 1024),
    min: 1024,
    max: MAX_HTTP_SIZE,
    unit: Unit::Bytes,
};

pub static HTTP_MAX_REQUEST_SIZE: Int = Int {
    about: About {
        name: c"pg_errand.http_max_request_size",
        short: c"Largest request, headers included.",
        long: c"A larger one fails without being sent.",
        context: Context::Superuser,
    },
    value: GucSetting::<i32>::new(40 * 1024 * 1024),
    min: 1024,
    max: MAX_HTTP_SIZE,
    unit: Unit::Bytes,
};

/// Texts in jsonb cannot be larger.
const MAX_HTTP_SIZE: i32 = 256 * 1024 * 1024 - 1;

pub static RETENTION: Int = Int {
    about: About {
        name: c"pg_errand.retention",
        short: c"How long finished tasks and errors are kept.",
        long: c"0 keeps them for ever.",
        context: Context::Superuser,
    },
    value: GucSetting::<i32>::new(7 * 24 * 3600),
    min: 0,
    max: i32::MAX,
    unit: Unit::Seconds,
};

pub static LOG_LEVEL: Choice<LogLevel> = Choice {
    about: About {
        name: c"pg_errand.log_level",
        short: c"The least important events that workers write to the server log.",
        long: c"debug: every step; info: every task; warning: failures; error: faults of the workers themselves.",
        context: Context::Superuser,
    },
    value: GucSetting::<LogLevel>::new(LogLevel::Info),
};

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
        long: c"0: as pg_errand.smtp_tls has it, 587 for starttls, 465 for tls, 25 for none.",
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
        long: c"starttls: after a greeting; a server that cannot do it gets no mail. tls: from the start. none: not at all, \
            the password included.",
        context: Context::Superuser,
    },
    value: GucSetting::<SmtpTls>::new(SmtpTls::Starttls),
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
        long: c"simulated: nobody; the message is logged and counts as sent. twilio: Twilio.",
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
        short: c"Number, sender or messaging service (MG...) that text messages come from.",
        long: c"A payload may name another one as from_number.",
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

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, PostgresGucEnum)]
pub enum LogLevel {
    #[name = c"debug"]
    Debug,
    #[name = c"info"]
    Info,
    #[name = c"warning"]
    Warning,
    #[name = c"error"]
    Error,
}

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

pub struct NameList;

impl Check for NameList {
    fn check(value: &str) -> Result<(), String> {
        let names = split_list(value);
        if names.is_none() {
            return Err("A comma-separated list of names is allowed; quote names that need it.".into());
        }
        Ok(())
    }
}

pub struct RoleName;

impl Check for RoleName {
    fn check(value: &str) -> Result<(), String> {
        match value {
            "" => Err("The name of a role is needed.".into()),
            "none" | "public" => Err(format!("\"{value}\" is no role.")),
            name if name.len() > 63 => Err("A role's name has 63 bytes at most.".into()),
            _ => Ok(()),
        }
    }
}

pub struct SecretList;

impl Check for SecretList {
    fn check(value: &str) -> Result<(), String> {
        if value.is_empty() || secret::is_setting(value) {
            return Ok(());
        }
        Err("A JSON object of texts is allowed: {\"name\": \"secret\"}.".into())
    }
}

pub struct HostName;

impl Check for HostName {
    fn check(value: &str) -> Result<(), String> {
        if value.is_empty() || rustls::pki_types::ServerName::try_from(value).is_ok() {
            Ok(())
        } else {
            Err("The name or address of a host is allowed, without a port.".into())
        }
    }
}

pub struct AccountSid;

impl Check for AccountSid {
    fn check(value: &str) -> Result<(), String> {
        let fits = value
            .strip_prefix("AC")
            .is_some_and(|id| id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()));
        if fits || value.is_empty() {
            Ok(())
        } else {
            Err("AC and 32 hexadecimal digits are allowed.".into())
        }
    }
}

pub struct Directory;

impl Check for Directory {
    fn check(value: &str) -> Result<(), String> {
        if value.is_empty() || value.starts_with('/') {
            Ok(())
        } else {
            Err("An absolute path is allowed.".into())
        }
    }
}

pub struct BaseUrl;

impl Check for BaseUrl {
    fn check(value: &str) -> Result<(), String> {
        let allowed = "A URL such as https://api.example.com is allowed, without user, query or fragment.";
        let url: ureq::http::Uri = value.parse().map_err(|_| allowed.to_owned())?;
        let plain = matches!(url.scheme_str(), Some("http" | "https"))
            && url.host().is_some_and(|host| !host.is_empty())
            && url.query().is_none()
            && !url.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if plain { Ok(()) } else { Err(allowed.into()) }
    }
}

pub struct Hosts;

impl Check for Hosts {
    fn check(value: &str) -> Result<(), String> {
        AllowList::parse(value).map(|_| ())
    }
}

pub struct ProxyUrl;

impl Check for ProxyUrl {
    fn check(value: &str) -> Result<(), String> {
        let is_plain = |url: url::Url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.path() == "/"
                && url.query().is_none()
                && url.fragment().is_none()
        };
        if value.is_empty() || url::Url::parse(value).is_ok_and(is_plain) {
            return Ok(());
        }
        Err("A URL such as http://proxy.example.com:3128 is allowed, without user, path or query.".into())
    }
}

pub struct AbsolutePath;

impl Check for AbsolutePath {
    fn check(value: &str) -> Result<(), String> {
        if value.is_empty() || value.starts_with('/') {
            return Ok(());
        }
        Err("An absolute path is allowed.".into())
    }
}

/// How calls may use the network now.
pub fn network() -> Network {
    let given = |setting: &Text| Some(setting.get()).filter(|text| !text.is_empty());
    Network {
        // The check has let only valid lists pass; an empty one allows nothing.
        allowed: AllowList::parse(&HTTP_ALLOWED_HOSTS.get()).unwrap_or_default(),
        proxy: given(&HTTP_PROXY),
        ca_file: given(&HTTP_CA_FILE),
        max_answer: HTTP_MAX_ANSWER_SIZE.get() as u64,
        max_request: HTTP_MAX_REQUEST_SIZE.get() as u64,
    }
}

/// `pg_errand.poll_interval` in microseconds.
pub fn poll_interval() -> i64 {
    i64::from(POLL_INTERVAL.get()).saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls() {
        for good in ["https://api.resend.com", "http://127.0.0.1:8080", "https://proxy.example/resend"] {
            assert_eq!(BaseUrl::check(good), Ok(()), "{good}");
        }
        for bad in ["", "api.resend.com", "ftp://x", "https://u:p@x", "https://x/?a=b", "https://"] {
            assert!(BaseUrl::check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn allowed_hosts() {
        for good in ["", "public", "*", "public, 10.0.0.0/8, [::1]:8080,*.example.com , db:5000"] {
            assert_eq!(Hosts::check(good), Ok(()), "{good}");
        }
        for bad in ["http://x", "10.0.0.0/99", "a b", "x:port"] {
            assert!(Hosts::check(bad).unwrap_err().contains("public"), "{bad}");
        }
    }

    #[test]
    fn proxies() {
        for good in ["", "http://proxy:3128", "https://[::1]:3128/", "http://127.0.0.1:8080"] {
            assert_eq!(ProxyUrl::check(good), Ok(()), "{good}");
        }
        for bad in
            ["proxy:3128", "socks5://x:1", "http://u:p@x:1", "http://x:1/path", "http://x:1?a", "http://"]
        {
            assert!(ProxyUrl::check(bad).unwrap_err().contains("http://"), "{bad}");
        }
    }

    #[test]
    fn host_names() {
        for good in ["", "smtp.example.com", "localhost", "10.0.0.1", "::1"] {
            assert_eq!(HostName::check(good), Ok(()), "{good}");
        }
        for bad in ["smtp.example.com:25", "smtp://x", "a b", "x\r\n"] {
            assert!(HostName::check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ca_files() {
        assert_eq!((AbsolutePath::check(""), AbsolutePath::check("/etc/ca.pem")), (Ok(()), Ok(())));
        assert!(AbsolutePath::check("ca.pem").is_err());
    }

    #[test]
    fn role_names() {
        assert_eq!(RoleName::check("app_worker"), Ok(()));
        assert!(RoleName::check("").is_err());
        assert!(RoleName::check(&"x".repeat(64)).is_err());
    }
}
