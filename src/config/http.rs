//! How calls use the network.

use super::check::{AbsolutePath, Hosts, ProxyUrl, ProxyUser};
use crate::pg::guc::{About, Context, Int, Text, Unit, check_hook};
use crate::pg::secret::Secret;
use pgrx::guc::GucSetting;
use std::marker::PhantomData;

/// Texts in jsonb cannot be larger.
const MAX_HTTP_SIZE: i32 = 256 * 1024 * 1024 - 1;

pub static CALL_TIMEOUT: Int = Int {
    about: About {
        name: c"pg_errand.call_timeout",
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
            *.example.com; each with :port or without. A listed name may have any address. The base URL of a provider \
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

pub static HTTP_PROXY_USER: Text = Text {
    about: About {
        name: c"pg_errand.http_proxy_user",
        short: c"User at the proxy.",
        long: c"Empty: nobody logs in.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: Some(check_hook::<ProxyUser>),
};

pub static HTTP_PROXY_PASSWORD: Secret<4> = Secret {
    about: About {
        name: c"pg_errand.http_proxy_password",
        short: c"Password for the proxy.",
        long:
            c"Never shown. Empty: the server's environment variable PG_ERRAND_HTTP_PROXY_PASSWORD, or none.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    environment: "PG_ERRAND_HTTP_PROXY_PASSWORD",
    rule: PhantomData,
};

pub static HTTP_CA_FILE: Text = Text {
    about: About {
        name: c"pg_errand.http_ca_file",
        short: c"Certificates of authorities that are trusted besides those of the system.",
        long: c"Absolute path of a PEM file; a change of the file takes effect with the next request. A server's own self-signed \
            certificate may stand there if it is no authority's (CA:FALSE). Empty: none.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: Some(check_hook::<AbsolutePath>),
};

pub static HTTP_MAX_RESPONSE_SIZE: Int = Int {
    about: About {
        name: c"pg_errand.http_max_response_size",
        short: c"Largest body of an answer.",
        long: c"What is larger is cut off: the call's status counts, except that a GET fails whose answer is not complete.",
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
