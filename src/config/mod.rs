//! All settings. A new setting needs an entry here and a row in `tests/settings.rs`; a secret also needs a place in
//! `pg::secret`. `make docs` generates `docs/configuration.md` from the entries.

mod check;
mod http;
mod provider;
pub mod secret_list;

use crate::pg::guc::{About, Choice, Context, Int, Setting, Switch, Text, Unit, check_hook, reserve_prefix};
use crate::pg::log;
pub use crate::pg::log::LogLevel;
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
    log::set_threshold(|| LOG_LEVEL.get());
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

/// The names of the secrets that are set, also by the server's environment.
pub fn secrets_set() -> Vec<&'static str> {
    let set = ALL.iter().filter(|setting| setting.is_set_secret());
    set.filter_map(|setting| setting.about().name.to_str().ok()).collect()
}

pub static DATABASES: Text = Text {
    about: About {
        name: c"pg_errand.databases",
        short: c"Sets the databases whose tasks are processed.",
        long: c"Comma-separated names. If empty, every database that has the extension is served, except templates.",
        context: Context::Sighup,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: Some(check_hook::<NameList>),
};

pub static ROLE: Text = Text {
    about: About {
        name: c"pg_errand.role",
        short: c"Sets the role that workers connect as and that handlers run as.",
        long:
            c"A user who may set this can run handlers with the privileges of any role, including superusers.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"errand_worker")),
    check: Some(check_hook::<RoleName>),
};

pub static CONCURRENCY: Int = Int {
    about: About {
        name: c"pg_errand.concurrency",
        short: c"Sets the maximum number of worker processes per database.",
        long: c"0 pauses processing: tasks wait until the value is raised.",
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
        short: c"Sets the maximum number of worker processes of all databases together.",
        long: c"Workers and the launcher count towards max_worker_processes. If workers are scarce, each database \
            with work gets one before any database gets a second one.",
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
        short: c"Sets how often an idle worker looks for tasks that were not announced.",
        long: c"This is a fallback only: a commit wakes an idle worker immediately.",
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
        short: c"Sets how long a worker process without work stays.",
        long: c"0 keeps it forever. New tasks start a worker immediately.",
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
        short: c"Sets the maximum number of provider calls in flight per worker process.",
        long: c"Beyond it, a worker starts only tasks that need no call, and calls to providers with few calls in \
            flight (at most half as many again).",
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
        short: c"Sets the pause between two flushes of the tasks that workers have finished.",
        long: c"0 uses the shortest useful pause; -1 leaves flushing to the WAL writer. While workers are busy, the \
            launcher flushes the ends of many tasks at once. If the server crashes before, the effects of a task are \
            lost along with its end, and the task runs again. Requests to providers and their responses are always \
            flushed before they are used.",
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
        short: c"Sets how long a worker outside the database may process a task.",
        long: c"After that time the task is handed out again. 0 disables leases: a task counts as finished when it \
            is handed out.",
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
        short: c"Selects the functions that may be handlers.",
        long: c"users: functions in users' schemas that belong to no extension. granted: functions that the role of \
            the workers owns or has been granted by name, not through PUBLIC. any: all functions that the role may \
            execute.",
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
        short: c"Sets the maximum allowed duration of a handler.",
        long: c"A handler that takes longer is interrupted and fails. 0 disables the time limit.",
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
        short: c"Treats a handler that returns an unsuccessful outcome as failed.",
        long:
            c"If off, the task succeeds with that outcome: a status other than succeeded, success false or a \
            validation failure. If on, the task fails, as with a returned error.",
        context: Context::Superuser,
    },
    value: GucSetting::<bool>::new(false),
};

/// A dump writes at most twice as many bytes for a payload, and no row of a dump can exceed one gigabyte.
const LARGEST_PAYLOAD: i32 = 256 * 1024 * 1024 - 1;

pub static MAX_PAYLOAD_SIZE: Int = Int {
    about: About {
        name: c"pg_errand.max_payload_size",
        short: c"Sets the maximum size of a payload as text.",
        long: c"Numbers count with all their digits, strings with their escapes. A task with a larger payload is \
            refused. A larger response of a provider is stored as a JSON string.",
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
        short: c"Sets how long finished tasks and errors are kept.",
        long: c"0 keeps them forever.",
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
        short: c"Sets the least important events that are written to the server log.",
        long: c"debug: every step, and tasks that succeed. info: tasks that end with an outcome, are cancelled, \
            retried or deferred. warning: failures. error: faults of the workers themselves.",
        context: Context::Superuser,
    },
    value: GucSetting::<LogLevel>::new(LogLevel::Info),
};

/// The role that the workers of a database connect as. `stored`: the value of `pg_errand.role` that is stored for the
/// database; empty if there is none.
pub fn role_of(stored: &str) -> String {
    if stored.is_empty() { ROLE.get() } else { stored.to_owned() }
}

/// `pg_errand.poll_interval` in microseconds.
pub fn poll_interval() -> i64 {
    i64::from(POLL_INTERVAL.get()).saturating_mul(1000)
}
