//! A row of `queues.provider`, without its interface.

use crate::hosts;
use crate::limits::Limits;
use crate::seconds;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// The columns as `sql/runtime/providers.sql` selects them, with times in seconds.
#[derive(Clone, Default, Deserialize)]
pub struct ProviderRow {
    pub name: String,
    /// The URL to which a request's path is appended, in its normal form. Null stands for the interface's own setting,
    /// or for none.
    #[serde(default, deserialize_with = "base_url")]
    pub base_url: Option<String>,
    /// A superuser has set the base URL, so it may lead into a private network.
    #[serde(default)]
    pub trusted: bool,
    #[serde(default)]
    pub auth: Auth,
    /// The header, query parameter or user that the secret belongs to.
    pub auth_name: Option<String>,
    /// The name of the secret.
    pub secret: Option<String>,
    /// The name of the secret that contains the client certificate and its key as PEM text.
    pub client_certificate: Option<String>,
    #[serde(default, deserialize_with = "headers")]
    pub headers: BTreeMap<String, HeaderValues>,
    #[serde(default, deserialize_with = "seconds::read")]
    pub timeout: Option<Duration>,
    /// The template of the request.
    #[serde(skip)]
    pub request: Option<Value>,
    /// The condition for success.
    #[serde(skip)]
    pub expect: Option<Value>,
    /// The template of the value that the success handler receives.
    #[serde(skip)]
    pub answer: Option<Value>,
    /// The template of the reason for a failure.
    #[serde(skip)]
    pub failure: Option<Value>,
    /// The header for the idempotency key.
    pub idempotency_header: Option<String>,
    /// How long the provider recognizes an idempotency key.
    #[serde(default, deserialize_with = "seconds::read")]
    pub idempotency_key_ttl: Option<Duration>,
    /// The largest number of calls in one batch.
    pub batch_size: Option<u32>,
    #[serde(skip)]
    pub limits: Limits,
}

/// How a request is authenticated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    #[default]
    None,
    /// `Authorization: Bearer <secret>`
    Bearer,
    /// User `auth_name` with the secret as password, or with an empty one if there is no secret. Without `auth_name` the
    /// secret is the user, and the password is empty.
    Basic,
    /// The secret in the header `auth_name`.
    Header,
    /// The secret in the query parameter `auth_name`.
    Query,
    /// A signature that is made with the secret: <https://www.standardwebhooks.com>.
    Webhook,
}

/// The values of a header, a string or an array of strings in JSON. Each value is sent as a header line of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderValues(pub Vec<String>);

impl<'de> Deserialize<'de> for HeaderValues {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            One(String),
            Several(Vec<String>),
        }
        let given = Given::deserialize(source)
            .map_err(|_| de::Error::custom("a value of headers has to be a string or an array of strings"))?;
        Ok(HeaderValues(match given {
            Given::One(value) => vec![value],
            Given::Several(values) => values,
        }))
    }
}

impl ProviderRow {
    /// The number of calls that may go out in one batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size.map_or(1, |size| size as usize)
    }
}

fn base_url<'de, D: Deserializer<'de>>(source: D) -> Result<Option<String>, D::Error> {
    let given: Option<String> = Deserialize::deserialize(source)?;
    let normal = given.map(|text| hosts::base_url(&text)).transpose();
    normal.map_err(|reason| de::Error::custom(format!("base_url cannot be used: {reason}")))
}

fn headers<'de, D: Deserializer<'de>>(source: D) -> Result<BTreeMap<String, HeaderValues>, D::Error> {
    let wrong = |rest: &str| de::Error::custom(format!("headers has to be an object of strings{rest}"));
    let Value::Object(fields) = Value::deserialize(source)? else { return Err(wrong("")) };
    let values = |(name, value)| match serde_json::from_value(value) {
        Ok(values) => Ok((name, values)),
        Err(_) => Err(wrong(&format!(" or arrays of strings; that of {name} is neither"))),
    };
    fields.into_iter().map(values).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_s_base_url_is_read_in_its_normal_form() {
        let base_url = |given: Value| {
            let row = serde_json::from_value::<ProviderRow>(json!({ "name": "x", "base_url": given }));
            row.map(|row| row.base_url).map_err(|problem| problem.to_string())
        };
        assert_eq!(base_url(Value::Null), Ok(None));
        for same in ["https://bücher.test/v1", "https://XN--bcher-kva.test.:443/v1/"] {
            assert_eq!(base_url(json!(same)), Ok(Some("https://xn--bcher-kva.test/v1".into())), "{same}");
        }
        for bad in ["https://a.test#x", "https://a.test?x", "https://{{t}}.test", "https://u@a.test"] {
            let problem = base_url(json!(bad)).unwrap_err();
            assert!(problem.starts_with("base_url cannot be used: a"), "{bad}: {problem}");
        }
    }
}
