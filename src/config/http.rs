//! Settings of the network use of calls.

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
        short: c"Sets the maximum allowed duration of a provider call.",
        long: c"The time from the start of the call to the last byte of the response, including name resolution and \
            connecting.",
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
        short: c"Sets the hosts that requests may be sent to.",
        long: c"A comma-separated list of: public (every public address), * (all), addresses, networks such as \
            10.0.0.0/8, host names, and patterns such as *.example.com, each optionally with :port. A listed name may \
            resolve to any address. The base URL of a provider that a superuser has set need not be listed.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"public")),
    check: Some(check_hook::<Hosts>),
};

pub static HTTP_PROXY: Text = Text {
    about: About {
        name: c"pg_errand.http_proxy",
        short: c"Sets the proxy that requests are sent through.",
        long: c"http://host:port or https://host:port. The proxy has to allow CONNECT, and it resolves host names. \
            If empty, no proxy is used. Environment variables such as HTTP_PROXY are ignored.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: Some(check_hook::<ProxyUrl>),
};

pub static HTTP_PROXY_USER: Text = Text {
    about: About {
        name: c"pg_errand.http_proxy_user",
        short: c"Sets the user name for the proxy.",
        long: c"If empty, no authentication takes place.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: Some(check_hook::<ProxyUser>),
};

pub static HTTP_PROXY_PASSWORD: Secret<4> = Secret {
    about: About {
        name: c"pg_errand.http_proxy_password",
        short: c"Sets the password for the proxy.",
        long: c"Never shown. If empty, the server's environment variable PG_ERRAND_HTTP_PROXY_PASSWORD is used, if \
            it is set.",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    environment: "PG_ERRAND_HTTP_PROXY_PASSWORD",
    rule: PhantomData,
};

pub static HTTP_CA_FILE: Text = Text {
    about: About {
        name: c"pg_errand.http_ca_file",
        short: c"Sets the file with certificate authorities that are trusted in addition to those of the system.",
        long: c"Absolute path of a PEM file. Changes of the file take effect with the next request. A self-signed \
            certificate of a server may be listed if it is not an authority's (CA:FALSE).",
        context: Context::Superuser,
    },
    value: GucSetting::<Option<std::ffi::CString>>::new(Some(c"")),
    check: Some(check_hook::<AbsolutePath>),
};

pub static HTTP_MAX_RESPONSE_SIZE: Int = Int {
    about: About {
        name: c"pg_errand.http_max_response_size",
        short: c"Sets the maximum size of a response body.",
        long: c"A larger body is truncated. The status of the call counts nevertheless, except that a GET fails if \
            its response is incomplete.",
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
        short: c"Sets the maximum size of a request, including its headers.",
        long: c"A larger request fails without being sent.",
        context: Context::Superuser,
    },
    value: GucSetting::<i32>::new(40 * 1024 * 1024),
    min: 1024,
    max: MAX_HTTP_SIZE,
    unit: Unit::Bytes,
};
