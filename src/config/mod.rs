//! All settings. An entry here is all it takes (a secret also needs a place in `pg::secret`);
//! `docs/configuration.md` is made from them.

mod check;
mod http;
mod provider;

use crate::pg::guc::{About, Choice, Context, Int, Setting, Switch, Text, Unit, check_hook, reserve_prefix};
use check::{NameList, RoleName};
pub use http::*;
use pgrx::guc::{GucSetting, PostgresGucEnum};
pub use provider::*;

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
    &HANDLERS,
    &HANDLER_TIMEOUT,
    &UNSUCCESSFUL_IS_FAILURE,
    &MAX_PAYLOAD_SIZE,
    &CALL_TIMEOUT,
    &HTTP_ALLOWED_HOSTS,
    &HTTP_PROXY,
    &HTTP_PROXY_USER,
    &HTTP_PROXY_PASSWORD,
    &HTTP_CA_FILE,
    &HTTP_MAX_RESPONSE_SIZE,
    &HTTP_MAX_REQUEST_SIZE,
    &RETENTION,
    &LOG_LEVEL,
    &RESEND_API_KEY,
    &RESEND_BASE_URL,
    &EMAIL_PROVIDER,
    &SMTP_HOST,
    &SMTP_PORT,
    &SMTP_TLS,
    &SMTP_EHLO_NAME,
    &SMTP_USER,
    &SMTP_PASSWORD,
    &SMS_PROVIDER,
    &TWILIO_ACCOUNT_SID,
    &TWILIO_AUTH_TOKEN,
    &TWILIO_API_KEY_SID,
    &TWILIO_FROM,
    &TWILIO_BASE_URL,
    &SECRETS,
    &SECRETS_DIR,
];

pub fn init() {
    ALL.iter().for_each(|setting| setting.define());
    reserve_prefix(c"pg_errand");
}

/// The names of the settings, without the prefix: those of secrets, and all others.
pub fn names() -> (Vec<&'static str>, Vec<&'static str>) {
    let name = |setting: &&'static dyn Setting| {
        let name = setting.about().name.to_str().unwrap_or_default();
        name.split_once('.').map_or(name, |(_, name)| name)
    };
    let (secrets, others): (Vec<_>, Vec<_>) = ALL.iter().partition(|setting| setting.is_secret());
    (secrets.iter().map(name).collect(), others.iter().map(name).collect())
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
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"errand_worker")),
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
        short: c"Interface calls in flight per worker process.",
        long: c"While that many are waited for, the worker starts only tasks that need no call, and calls of providers that have few under way (up to half as many more).",
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

pub static HANDLERS: Choice<HandlerRule> = Choice {
    about: About {
        name: c"pg_errand.handlers",
        short: c"Which functions may be handlers.",
        long: c"users: those in users' schemas that belong to no extension. granted: those granted to the role of the \
            workers (or owned by it) by name, not through PUBLIC. any: all that the role may execute.",
        context: Context::Superuser,
    },
    value: GucSetting::<HandlerRule>::new(HandlerRule::Users),
};

#[derive(Clone, Copy, PartialEq, Eq, Debug, PostgresGucEnum)]
pub enum HandlerRule {
    #[name = c"users"]
    Users,
    #[name = c"granted"]
    Granted,
    #[name = c"any"]
    Any,
}

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

pub static UNSUCCESSFUL_IS_FAILURE: Switch = Switch {
    about: About {
        name: c"pg_errand.unsuccessful_is_failure",
        short: c"Whether a handler fails by returning that it was not successful.",
        long: c"off: a status other than succeeded, success false or a validation failure is the outcome of a task \
            that has succeeded. on: it is a failure, like a returned error.",
        context: Context::Superuser,
    },
    value: GucSetting::<bool>::new(false),
};

/// A dump writes at most twice as much for it, and no row of a dump can have more than a gigabyte.
const LARGEST_PAYLOAD: i32 = 256 * 1024 * 1024 - 1;

pub static MAX_PAYLOAD_SIZE: Int = Int {
    about: About {
        name: c"pg_errand.max_payload_size",
        short: c"Largest payload of a task, as text.",
        long: c"Numbers count with all their digits, strings with their escapes. A task with a larger one is refused; a \
            response of a provider that is larger is kept as a string of JSON.",
        context: Context::Superuser,
    },
    value: GucSetting::<i32>::new(LARGEST_PAYLOAD),
    min: 1024,
    max: LARGEST_PAYLOAD,
    unit: Unit::Bytes,
};

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
        long: c"debug: every step and every task that succeeds; info: tasks that end with something to say (an outcome, a \
            cancel, a repetition, a pause); warning: failures; error: faults of the workers themselves.",
        context: Context::Superuser,
    },
    value: GucSetting::<LogLevel>::new(LogLevel::Info),
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

/// `pg_errand.poll_interval` in microseconds.
pub fn poll_interval() -> i64 {
    i64::from(POLL_INTERVAL.get()).saturating_mul(1000)
}
