//! The HTTP client, based on `ureq`. It prevents users who can write a URL from reaching hosts that are accessible only
//! to this machine.

mod agents;
mod hop;
mod interim;
mod problem;
mod proxy;
mod resolver;
mod socket;
#[cfg(test)]
mod tests;
mod tls;

use crate::hosts::Target;
use crate::job::Job;
use crate::names::{self, ChosenBy, LookUp, Names};
use crate::redirect::{self, NotFollowed};
use crate::request::HttpRequest;
use crate::response::{Flaw, Response};
use crate::spawn::Spawn;
use agents::{Agents, forget_connecting, has_connected};
use hop::Hop;
use problem::{MAX_CONNECT_TIME, Problem, Reason};
use std::io::Read;
use std::time::{Duration, Instant};
use ureq::http::{self, Method};
use ureq::{AsSendBody, Body};

/// Sends requests, and keeps connections alive between them.
pub struct Client {
    agents: Agents,
}

impl Client {
    pub fn new(spawn: Spawn) -> Self {
        Client::with_look_up(names::system, spawn)
    }

    fn with_look_up(look_up: LookUp, spawn: Spawn) -> Self {
        Client { agents: Agents::new(Names::new(look_up, spawn)) }
    }

    /// Sends `request`, follows redirects, and reads the response as far as it arrives.
    ///
    /// # Errors
    /// If there is no response; the error states the reason.
    pub fn send(&self, request: &HttpRequest, job: &Job, limit: Duration) -> Result<Response, String> {
        self.follow(request, job, limit).map_err(|problem| problem.explain(job.timeout))
    }

    fn follow(&self, request: &HttpRequest, job: &Job, limit: Duration) -> Result<Response, Problem> {
        let end = Instant::now() + limit;
        socket::set_end(end);
        let mut hop = Hop::first(request, &job.credentials, job.network.max_request_size)?;
        let mut followed = 0;
        loop {
            let response = self.exchange(&hop, job, end)?;
            if !redirect::is_redirect(response.status) {
                return Ok(response);
            }
            match hop.next(&response, request.redirects) {
                Ok(next) if followed < redirect::MAX => hop = next,
                unfollowed => {
                    let why = unfollowed.err().unwrap_or(NotFollowed::TooMany);
                    return Ok(Response { not_followed: Some(why), ..response });
                }
            }
            followed += 1;
        }
    }

    fn exchange(&self, hop: &Hop, job: &Job, end: Instant) -> Result<Response, Problem> {
        let exempt = hop.is_home && is_trusted(job, &hop.target);
        let problem = |error| Problem::Call { host: hop.target.to_string(), error };
        if let Some(refusal) = proxy::refusal(&job.network, &hop.target).filter(|_| !exempt) {
            return Err(problem(refusal.into()));
        }
        resolver::set_chosen_by(chosen_by(job, hop));
        let client = job.client_certificate.as_ref().filter(|_| hop.is_home);
        let agent = self.agents.get(&job.network, exempt, client)?;
        let head = open(&agent, hop, job, end).map_err(problem)?;
        if head.status().is_success() && socket::was_cut_short() {
            return Err(problem(Reason::CutShort(head.status()).into()));
        }
        let (response, cut) = read(head, job.network.max_response_size);
        let flaw = |error| Flaw {
            is_limit: matches!(error, ureq::Error::BodyExceedsLimit(_)),
            reason: format!("the response was cut off: {}", problem(error).explain(job.timeout)),
        };
        Ok(Response { flaw: cut.map(flaw), ..response })
    }
}

/// Returns who has chosen the name that is resolved. Behind a proxy, that is the name of the proxy.
fn chosen_by(job: &Job, hop: &Hop) -> ChosenBy {
    let has_base_url = job.provider.base_url.is_some() || job.trusted_base.is_some();
    let is_provider_s = job.network.proxy.is_some() || hop.is_home && has_base_url;
    if is_provider_s { ChosenBy::Provider } else { ChosenBy::Payload }
}

/// True if a superuser has chosen this host for the provider.
fn is_trusted(job: &Job, target: &Target) -> bool {
    let base = job.trusted_base.as_deref().and_then(|base| Target::parse(base).ok());
    base.is_some_and(|base| target.has_origin_of(&base))
}

/// Sends the request and reads the head of the response. A kept-alive connection that turns out to be dead is replaced,
/// a new one is not. A request that the provider could carry out twice gets a connection of its own.
fn open(
    agent: &ureq::Agent,
    hop: &Hop,
    job: &Job,
    end: Instant,
) -> Result<http::Response<Body>, ureq::Error> {
    forget_connecting();
    let mut head = open_once(agent, hop, job, end);
    // Each attempt removes one dead connection from the pool, so the last attempt uses a new one.
    while job.repeatable && matches!(&head, Err(error) if is_broken(error)) && !has_connected() {
        head = open_once(agent, hop, job, end);
    }
    head
}

fn open_once(
    agent: &ureq::Agent,
    hop: &Hop,
    job: &Job,
    end: Instant,
) -> Result<http::Response<Body>, ureq::Error> {
    socket::forget_cut();
    let (target, headers) = hop.with_credentials(&job.credentials);
    let mut builder = http::Request::builder().method(&hop.method).uri(target.url());
    for (name, value) in &headers {
        builder = builder.header(name, value);
    }
    if !job.repeatable {
        builder = builder.header(http::header::CONNECTION, "close");
    }
    let has_body = !hop.body.is_empty() || matches!(hop.method, Method::POST | Method::PUT | Method::PATCH);
    match has_body {
        true => run(agent, builder.body(hop.body.as_slice())?, end),
        false => run(agent, builder.body(())?, end),
    }
}

fn run<B: AsSendBody>(
    agent: &ureq::Agent,
    message: http::Request<B>,
    end: Instant,
) -> Result<http::Response<Body>, ureq::Error> {
    let left = end.saturating_duration_since(Instant::now());
    let message = agent
        .configure_request(message)
        .timeout_global(Some(left))
        .timeout_connect(Some(left.min(MAX_CONNECT_TIME)))
        .build();
    agent.run(message)
}

/// Reads the body as far as it arrives, and returns the reason why the rest is missing.
fn read(mut head: http::Response<Body>, max_size: u64) -> (Response, Option<ureq::Error>) {
    let status = head.status().as_u16();
    let headers = head
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let mut body = Vec::new();
    let cut = head.body_mut().with_config().limit(max_size).reader().read_to_end(&mut body).err();
    (Response { status, headers, body, ..Response::default() }, cut.map(ureq::Error::from))
}

/// True if the connection ended before a response began.
fn is_broken(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error, ureq::Error::Io(error)
        if matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof))
}
