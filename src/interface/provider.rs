//! A provider that tasks are sent to: a row of `queues.provider`.

use super::header::header_problem;
use super::{Batching, HttpRequest, Interface, Request, auth, find, http, template};
use crate::hosts::{self, Target};
use crate::json;
use crate::secret;
use crate::shared::Terms;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// A row of `queues.provider`, as `sql/runtime/task_definitions.sql` writes it: times in seconds.
#[derive(Clone, Deserialize)]
pub struct Provider {
    pub name: String,
    #[serde(rename = "interface", deserialize_with = "interface")]
    pub interface: &'static dyn Interface,
    /// What a path of a request is appended to, in its normal form; nothing: the interface's own setting, or none.
    #[serde(default, deserialize_with = "base_url")]
    pub base_url: Option<String>,
    /// A superuser has set the base URL: it may be in a private network.
    #[serde(default)]
    pub trusted: bool,
    #[serde(default)]
    pub auth: Auth,
    /// Header, query parameter or user that the secret belongs to.
    pub auth_name: Option<String>,
    /// Name of the secret.
    pub secret: Option<String>,
    /// Name of the secret that holds the certificate and key with which we prove who we are (PEM).
    pub client_certificate: Option<String>,
    #[serde(default, deserialize_with = "headers")]
    pub headers: BTreeMap<String, Values>,
    #[serde(default, deserialize_with = "seconds")]
    pub timeout: Option<Duration>,
    /// Template of the request.
    #[serde(skip)]
    pub request: Option<Value>,
    /// What counts as success.
    #[serde(skip)]
    pub expect: Option<Value>,
    /// Template of what the success handler is given.
    #[serde(skip)]
    pub answer: Option<Value>,
    /// Template of the reason, if the reply is no success.
    #[serde(skip)]
    pub failure: Option<Value>,
    /// Header for the idempotency key.
    pub idempotency_header: Option<String>,
    /// How long the key is recognized.
    #[serde(default, deserialize_with = "seconds")]
    pub idempotency_key_ttl: Option<Duration>,
    /// Tasks that may go out in one request, where the interface has such requests.
    pub batch_size: Option<u32>,
    #[serde(skip)]
    pub limits: Limits,
}

/// The values of a header, each of which goes out in a line of its own: a text, or an array of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values(pub Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            One(String),
            Several(Vec<String>),
        }
        let given = Given::deserialize(source)
            .map_err(|_| de::Error::custom("a value of headers has to be a string or an array of strings"))?;
        Ok(Values(match given {
            Given::One(value) => vec![value],
            Given::Several(values) => values,
        }))
    }
}

/// Whether a row makes sense.
///
/// # Errors
/// What is wrong with it.
pub fn check(row: Value) -> Result<(), String> {
    for name in ["requests_per_second", "burst", "max_in_flight", "breaker_threshold", "batch_size"] {
        let value = row.get(name).filter(|value| !value.is_null());
        let fits = |value: &Value| value.as_f64().is_some_and(|number| number > 0.0 && number.is_finite());
        if value.is_some_and(|value| !fits(value)) {
            return Err(format!("{name} has to be above 0, or null"));
        }
    }
    Provider::of_unread_row(row)?.check()
}

/// No call may take longer, as the top of `pg_errand.call_timeout`.
const LONGEST_CALL: Duration = Duration::from_secs(3600);
/// Time between two requests at most, in microseconds: a day.
const SLOWEST: f64 = 86_400e6;
/// No circuit breaker stays open for longer.
pub const LONGEST_BREAK: Duration = Duration::from_secs(3600);
const LARGEST_BURST: i64 = 1_000_000;

/// What a provider lets us do.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Limits {
    pub requests_per_second: Option<f64>,
    /// Requests that may go out at once after a pause.
    pub burst: Option<u32>,
    /// Calls in flight, of all workers.
    pub max_in_flight: Option<u32>,
    /// How long a request waits for what the provider asks us to wait.
    #[serde(deserialize_with = "seconds")]
    pub max_wait: Option<Duration>,
    /// Calls that fail in a row, after which there is a pause …
    pub breaker_threshold: Option<u32>,
    /// … of this length.
    #[serde(deserialize_with = "seconds")]
    pub breaker_cooldown: Option<Duration>,
}

/// How a request proves who we are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    #[default]
    None,
    /// `Authorization: Bearer <secret>`
    Bearer,
    /// User `auth_name` and the secret as password, which is empty if there is none; without `auth_name` the secret is
    /// the user, and the password is empty.
    Basic,
    /// The secret in the header `auth_name`.
    Header,
    /// The secret in the query parameter `auth_name`.
    Query,
    /// A signature, made with the secret: <https://www.standardwebhooks.com>.
    Webhook,
}

impl Provider {
    /// # Errors
    /// What no provider can have.
    pub fn of_row(mut row: Value) -> Result<Provider, String> {
        let [request, expect, answer, failure] =
            json::take(&mut row, ["request", "expect", "answer", "failure"]);
        // Not flattened: serde_json's numbers of any precision do not survive that.
        let limits = serde_json::from_value(row.clone()).map_err(|error| error.to_string())?;
        let provider: Provider = serde_json::from_value(row).map_err(|error| error.to_string())?;
        Ok(Provider { limits, request, expect, answer, failure, ..provider })
    }

    /// A row that is being written.
    ///
    /// # Errors
    /// What no provider can have.
    pub fn of_unread_row(mut row: Value) -> Result<Provider, String> {
        // Times are numbers only where they are read.
        if let Some(fields) = row.as_object_mut() {
            ["timeout", "idempotency_key_ttl", "max_wait", "breaker_cooldown"]
                .iter()
                .for_each(|time| drop(fields.remove(*time)));
        }
        Provider::of_row(row)
    }

    fn check(&self) -> Result<(), String> {
        if self.auth == Auth::Basic && self.auth_name.is_none() && self.secret.is_none() {
            return Err("auth needs auth_name, the user, or the name of a secret that holds the user".into());
        }
        if !matches!(self.auth, Auth::None | Auth::Basic) && self.secret.is_none() {
            return Err("auth needs the name of a secret".into());
        }
        if matches!(self.auth, Auth::Header | Auth::Query) && self.auth_name.is_none() {
            return Err("auth needs auth_name: the header or query parameter".into());
        }
        if self.auth == Auth::Basic && self.auth_name.as_ref().is_some_and(|user| user.contains(':')) {
            return Err("auth_name is a user, so it cannot hold a colon".into());
        }
        if let Some(secret) =
            [&self.secret, &self.client_certificate].into_iter().flatten().find(|name| !secret::is_name(name))
        {
            return Err(format!("\"{secret}\" is no name of a secret"));
        }
        let most = self.interface.batching().map_or(1, Batching::most);
        if self.batch_size() > most as usize {
            let interface = self.interface.name();
            return Err(format!(
                "batch_size can be {most} at most: the interface {interface} sends no more in one request"
            ));
        }
        let own_header = self.auth_name.as_deref().filter(|_| self.auth == Auth::Header);
        let key_header = self.idempotency_header.as_deref().filter(|name| !name.is_empty());
        for name in own_header.into_iter().chain(key_header) {
            header_problem(name, "").map_or(Ok(()), Err)?;
        }
        self.check_key_header()?;
        for (column, template) in
            [("request", &self.request), ("answer", &self.answer), ("failure", &self.failure)]
        {
            let checked = template.as_ref().map_or(Ok(()), template::check);
            checked.map_err(|problem| format!("{column}: {problem}"))?;
        }
        http::check(self)
    }

    /// Each request needs a key of its own where the provider looks for it: with the same one, the provider would take
    /// all of them for repetitions of the first.
    fn check_key_header(&self) -> Result<(), String> {
        let own = self.idempotency_header.as_deref().filter(|name| !name.is_empty());
        for name in own.into_iter().chain([http::DEFAULT_KEY_HEADER]) {
            let is_key = |other: &str| other.eq_ignore_ascii_case(name);
            if self.auth != Auth::Query && auth::owns_header(self, name) {
                return Err(format!(
                    "the header {name} cannot be for the secret: it holds the idempotency key"
                ));
            }
            if self.headers.keys().any(|other| is_key(other)) {
                return Err(format!(
                    "headers cannot have {name}: each request has an idempotency key of its own"
                ));
            }
        }
        Ok(())
    }

    /// The limit for a call; `usual` is that of the settings. A request can only shorten it.
    pub fn timeout_of(&self, request: &Request, usual: Duration) -> Duration {
        let limit = self.timeout.unwrap_or(usual).clamp(Duration::from_millis(1), LONGEST_CALL);
        match request {
            Request::Http(HttpRequest { timeout: Some(wanted), .. }) => {
                limit.min(Duration::from_millis(*wanted))
            }
            _ => limit,
        }
    }

    /// Tasks that may go out in one request.
    pub fn batch_size(&self) -> usize {
        self.batch_size.map_or(1, |size| size as usize)
    }

    /// How several tasks go out in one request, if they are to.
    pub fn batching(&self) -> Option<&'static dyn Batching> {
        self.interface.batching().filter(|_| self.batch_size() > 1)
    }

    /// What it lets us do, for the account that counts requests.
    pub fn terms(&self) -> Terms {
        let Limits { requests_per_second, burst, max_in_flight, breaker_threshold, breaker_cooldown, .. } =
            self.limits;
        let rate = requests_per_second.filter(|rate| *rate > 0.0);
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        Terms {
            account: self.account(),
            interval: rate.map_or(0, |rate| (1e6 / rate).ceil().min(SLOWEST) as i64),
            // A tenth of a second's, or a fast provider would have us wake up for each request.
            burst: burst
                .map_or_else(|| rate.map_or(1, |rate| (rate / 10.0) as i64), i64::from)
                .clamp(1, LARGEST_BURST),
            max_in_flight: max_in_flight.unwrap_or(0),
            breaker_threshold: breaker_threshold.unwrap_or(0),
            breaker_cooldown: breaker_cooldown.map_or(0, |time| micros(time.min(LONGEST_BREAK))),
        }
    }

    /// Rows with the same address and credentials are the same customer of the provider, also in different databases.
    fn account(&self) -> u64 {
        let interface = self.interface.name();
        match &self.base_url {
            Some(base) => account(&[
                interface,
                base,
                &format!("{:?}", self.auth),
                self.auth_name.as_deref().unwrap_or(""),
                self.secret.as_deref().unwrap_or(""),
                self.client_certificate.as_deref().unwrap_or(""),
            ]),
            None => account(&[&self.name, interface, &self.interface.customer_of_settings()]),
        }
    }

    /// The account that a reply to `request` concerns: without a base URL, that of its host.
    pub fn account_of(&self, request: &Request) -> u64 {
        match request {
            Request::Http(http) if self.base_url.is_none() && self.interface.takes_request_from_payload() => {
                account(&["host", &host_of(http)])
            }
            _ => self.account(),
        }
    }

    #[cfg(test)]
    /// A provider that speaks `interface` and has nothing set.
    pub fn plain(interface: &'static dyn Interface) -> Provider {
        Provider {
            name: interface.name().to_owned(),
            interface,
            base_url: None,
            trusted: false,
            auth: Auth::None,
            auth_name: None,
            secret: None,
            client_certificate: None,
            headers: BTreeMap::new(),
            timeout: None,
            request: None,
            expect: None,
            answer: None,
            failure: None,
            idempotency_header: None,
            idempotency_key_ttl: None,
            batch_size: None,
            limits: Limits::default(),
        }
    }

    /// The base URL, if a superuser has chosen it.
    pub fn trusted_base_url(&self) -> Option<String> {
        match &self.base_url {
            Some(url) => self.trusted.then(|| url.clone()),
            None => self.interface.base_url_of_superuser(),
        }
    }

    /// Whether a request that was stored earlier still goes where this provider's credentials belong.
    ///
    /// # Errors
    /// What has changed since; names only.
    pub fn check_destination(&self, request: &Request) -> Result<(), String> {
        let Request::Http(request) = request else { return Ok(()) };
        let base = self.base_url.clone().or_else(|| self.interface.base_url_of_superuser());
        // Without a base URL there are no credentials.
        let Some(base) = base else { return Ok(()) };
        let (made_for, now) = (Target::parse(&request.url)?, Target::parse(&base)?);
        if made_for.has_origin_of(&now) {
            return Ok(());
        }
        let origin =
            |target: &Target| format!("{}://{target}", if target.is_https() { "https" } else { "http" });
        Err(format!(
            "the base URL of provider \"{}\" has changed: the request was made for {}, and its credentials are for {} \
             now; it was not sent",
            self.name,
            origin(&made_for),
            origin(&now)
        ))
    }
}

fn interface<'de, D: Deserializer<'de>>(source: D) -> Result<&'static dyn Interface, D::Error> {
    let name = String::deserialize(source)?;
    find(&name).ok_or_else(|| de::Error::custom(format!("there is no interface \"{name}\"")))
}

fn base_url<'de, D: Deserializer<'de>>(source: D) -> Result<Option<String>, D::Error> {
    let given: Option<String> = Deserialize::deserialize(source)?;
    let normal = given.map(|text| hosts::base_url(&text)).transpose();
    normal.map_err(|reason| de::Error::custom(format!("base_url cannot be used: {reason}")))
}

fn headers<'de, D: Deserializer<'de>>(source: D) -> Result<BTreeMap<String, Values>, D::Error> {
    let wrong = |rest: &str| de::Error::custom(format!("headers has to be an object of strings{rest}"));
    let Value::Object(fields) = Value::deserialize(source)? else { return Err(wrong("")) };
    let values = |(name, value)| match serde_json::from_value(value) {
        Ok(values) => Ok((name, values)),
        Err(_) => Err(wrong(&format!(" or arrays of strings; that of {name} is neither"))),
    };
    fields.into_iter().map(values).collect()
}

fn seconds<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Duration>, D::Error> {
    let seconds: Option<f64> = Deserialize::deserialize(source)?;
    Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
}

/// The host of a request, with its port if it names one.
pub fn host_of(request: &HttpRequest) -> String {
    Target::parse(&request.url).map_or(String::new(), |target| target.to_string())
}

fn account(parts: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::simulated::Simulated;

    fn terms(limits: Limits) -> Terms {
        Provider { limits, ..Provider::plain(&Simulated) }.terms()
    }

    #[test]
    fn odd_rates_stay_within_what_can_be_counted() {
        let rate = |rate| Limits { requests_per_second: Some(rate), ..Limits::default() };
        assert_eq!((terms(rate(2.0)).interval, terms(rate(2.0)).burst), (500_000, 1));
        assert_eq!((terms(rate(100.0)).interval, terms(rate(100.0)).burst), (10_000, 10));
        assert_eq!(terms(rate(1e-300)).interval, 86_400_000_000);
        assert_eq!((terms(rate(1e300)).interval, terms(rate(1e300)).burst), (1, LARGEST_BURST));
    }

    #[test]
    fn a_key_header_is_only_for_keys() {
        let base = || Provider {
            base_url: Some("https://api.test".into()),
            secret: Some("s".into()),
            ..Provider::plain(&Simulated)
        };
        let named = |auth, name: &str| Provider { auth, auth_name: Some(name.into()), ..base() };
        let key_header =
            |name: &str, provider| Provider { idempotency_header: Some(name.into()), ..provider };
        let headers =
            |name: &str| Provider { headers: [(name.into(), Values(vec!["x".into()]))].into(), ..base() };
        for wrong in [
            named(Auth::Header, "idempotency-KEY"),
            key_header("", named(Auth::Header, "Idempotency-Key")),
            key_header("X-Key", named(Auth::Header, "x-key")),
            key_header("Authorization", named(Auth::Bearer, "")),
            key_header("webhook-id", named(Auth::Webhook, "")),
            headers("Idempotency-Key"),
            key_header("X-Key", headers("x-key")),
        ] {
            assert!(
                wrong.check().is_err_and(|reason| reason.contains("idempotency key")),
                "{:?}",
                wrong.auth_name
            );
        }
        for right in [
            named(Auth::Header, "X-Key"),
            named(Auth::Query, "Idempotency-Key"),
            key_header("X-Key", named(Auth::Bearer, "")),
            headers("X-Key"),
        ] {
            assert_eq!(right.check(), Ok(()));
        }
    }

    #[test]
    fn a_request_shortens_the_time_limit_only() {
        let provider = Provider { timeout: Some(Duration::MAX), ..Provider::plain(&Simulated) };
        let of = |timeout| Request::Http(HttpRequest { timeout, ..HttpRequest::default() });
        assert_eq!(provider.timeout_of(&of(None), Duration::from_secs(1)), LONGEST_CALL);
        assert_eq!(provider.timeout_of(&of(Some(50)), Duration::from_secs(1)), Duration::from_millis(50));
        assert_eq!(provider.timeout_of(&of(Some(u64::MAX)), Duration::from_secs(1)), LONGEST_CALL);
    }

    #[test]
    fn a_stored_request_goes_only_to_where_the_service_is_now() {
        let provider = |base: &str| Provider { base_url: Some(base.into()), ..Provider::plain(&Simulated) };
        let made_for = |url: &str| Request::Http(HttpRequest { url: url.into(), ..HttpRequest::default() });
        let request = made_for("https://api.test/v1/x?y=1");
        for same in ["https://api.test", "https://API.test:443/v2"] {
            assert_eq!(provider(same).check_destination(&request), Ok(()), "{same}");
        }
        for other in
            ["http://api.test", "https://api.test:8443", "https://api.test.evil", "https://other.test"]
        {
            let refusal = provider(other).check_destination(&request).unwrap_err();
            assert!(refusal.contains("https://api.test, ") && refusal.contains("not sent"), "{refusal}");
        }
        assert_eq!(Provider::plain(&Simulated).check_destination(&request), Ok(()));
    }

    #[test]
    fn a_row_s_base_url_is_read_in_its_normal_form() {
        #[derive(Debug, Deserialize)]
        struct Row {
            #[serde(default, deserialize_with = "base_url")]
            base_url: Option<String>,
        }
        let row = |base: &str| serde_json::from_value::<Row>(serde_json::json!({ "base_url": base }));
        assert_eq!(serde_json::from_str::<Row>("{}").unwrap().base_url, None);
        for same in ["https://bücher.test/v1", "https://XN--bcher-kva.test.:443/v1/"] {
            assert_eq!(
                row(same).unwrap().base_url.as_deref(),
                Some("https://xn--bcher-kva.test/v1"),
                "{same}"
            );
        }
        for bad in ["https://a.test#x", "https://a.test?x", "https://{{t}}.test", "https://u@a.test"] {
            let problem = row(bad).unwrap_err().to_string();
            assert!(problem.starts_with("base_url cannot be used: a"), "{bad}: {problem}");
        }
    }

    #[test]
    fn who_has_the_same_secret_at_the_same_address_has_the_same_account() {
        let at = |base: &str, secret: &str| {
            let provider = Provider {
                base_url: Some(base.into()),
                secret: Some(secret.into()),
                ..Provider::plain(&Simulated)
            };
            provider.terms().account
        };
        assert_eq!(at("https://a", "s"), at("https://a", "s"));
        assert!(at("https://a", "s") != at("https://a", "t") && at("https://a", "s") != at("https://b", "s"));
    }
}
