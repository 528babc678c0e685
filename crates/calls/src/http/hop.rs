//! One request of a call: the first one, or one after a redirect.

use super::problem::Problem;
use crate::credential::{Credential, Placed};
use crate::header::problem as header_problem;
use crate::hosts::Target;
use crate::redirect::{self, NotFollowed, Redirects};
use crate::request::HttpRequest;
use crate::response::Response;
use ureq::http::Method;

/// Headers that identify the sender, even if they are no credentials of the provider.
const PERSONAL: &[&str] = &["authorization", "cookie", "proxy-authorization"];

pub struct Hop {
    pub target: Target,
    pub method: Method,
    /// The headers without credentials.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The target still is the host for which the request was built.
    pub is_home: bool,
}

impl Hop {
    /// # Errors
    /// If the request is invalid.
    pub fn first(request: &HttpRequest, credentials: &[Credential], max_size: u64) -> Result<Hop, Problem> {
        let hop = Hop {
            target: Target::parse(&request.url)?,
            method: method(&request.method)?,
            headers: own_headers(request, credentials),
            body: request.body.bytes()?,
            is_home: true,
        };
        let headers = hop.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        if let Some(problem) =
            headers.chain(placed_headers(credentials)).find_map(|(name, value)| header_problem(name, value))
        {
            return Err(problem.into());
        }
        match hop.size() {
            size if size > max_size => Err(Problem::Request(format!(
                "the request has {size} bytes; pg_errand.http_max_request_size allows {max_size}"
            ))),
            _ => Ok(hop),
        }
    }

    fn size(&self) -> u64 {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        (self.target.url().len() + headers + self.body.len()) as u64
    }

    /// Adds credentials, if the target is the host for which they are meant.
    pub fn with_credentials(&self, credentials: &[Credential]) -> (Target, Vec<(String, String)>) {
        let (mut target, mut headers) = (self.target.clone(), self.headers.clone());
        if self.is_home {
            headers.extend(placed_headers(credentials).map(|(name, value)| (name.into(), value.into())));
            for credential in credentials {
                if let Placed::Query { name, value } = &credential.placed {
                    target.set_parameter(name, value);
                }
            }
        }
        (target, headers)
    }

    /// Returns the request that a redirect requires.
    ///
    /// # Errors
    /// If the redirect is not followed.
    pub fn next(&self, response: &Response, redirects: Redirects) -> Result<Hop, NotFollowed> {
        if redirects == Redirects::None {
            return Err(NotFollowed::Unwanted);
        }
        let becomes_get = redirect::becomes_get(self.method.as_str(), response.status);
        let target = response.header("location").and_then(|location| self.target.join(location).ok());
        let target = target.ok_or(NotFollowed::NoTarget)?;
        let stays = target.has_origin_of(&self.target);
        let is_safe = target.is_https() || !self.target.is_https();
        let is_wanted = redirects.follow(stays, is_safe);
        if !is_wanted && redirects.follow(stays, true) {
            Err(NotFollowed::Insecure)
        } else if becomes_get && !redirects.allow_get() {
            Err(NotFollowed::BecomesGet(self.method.to_string()))
        } else if !is_wanted {
            Err(NotFollowed::Unwanted)
        } else {
            Ok(self.redirected(target, stays, becomes_get))
        }
    }

    fn redirected(&self, target: Target, stays: bool, becomes_get: bool) -> Hop {
        let is_kept = |name: &str| {
            let name = name.to_ascii_lowercase();
            (stays || !PERSONAL.contains(&name.as_str())) && !(becomes_get && name.starts_with("content-"))
        };
        Hop {
            target,
            method: if becomes_get { Method::GET } else { self.method.clone() },
            headers: self.headers.iter().filter(|(name, _)| is_kept(name)).cloned().collect(),
            body: if becomes_get { Vec::new() } else { self.body.clone() },
            is_home: self.is_home && stays,
        }
    }
}

fn placed_headers(credentials: &[Credential]) -> impl Iterator<Item = (&str, &str)> {
    credentials.iter().filter_map(|credential| match &credential.placed {
        Placed::Header { name, value } => Some((name.as_str(), value.as_str())),
        Placed::Query { .. } | Placed::Login { .. } => None,
    })
}

/// Returns the headers that no credential replaces.
fn own_headers(request: &HttpRequest, credentials: &[Credential]) -> Vec<(String, String)> {
    let is_placed =
        |name: &str| placed_headers(credentials).any(|(placed, _)| placed.eq_ignore_ascii_case(name));
    request.headers.iter().filter(|(name, _)| !is_placed(name)).cloned().collect()
}

fn method(name: &str) -> Result<Method, String> {
    match name.parse() {
        Ok(Method::CONNECT | Method::TRACE) | Err(_) => Err(format!("the method {name:?} cannot be called")),
        Ok(method) => Ok(method),
    }
}
