//! HTTP, by `ureq`: guarded, so that nobody who may write a URL reaches what only this machine can.

mod agents;
mod hop;
mod interim;
mod network;
mod problem;
pub(super) mod resolve;
mod socket;
#[cfg(test)]
mod tests;
pub(super) mod tls;

use super::Job;
use crate::hosts::Target;
use crate::interface::{Flaw, HttpRequest, NotFollowed, Reply, redirect};
use agents::{Agents, forget_connecting, has_connected};
use hop::Hop;
pub use network::{Network, ProxyServer};
pub use problem::Problem;
use problem::Reason;
pub use resolve::Spawn;
use resolve::{ChosenBy, LookUp, Names};
use std::io::Read;
use std::time::{Duration, Instant};
use ureq::http::{self, Method};
use ureq::{AsSendBody, Body};

/// No connection takes longer, however much time the call has.
const MAX_CONNECT_TIME: Duration = Duration::from_secs(10);

/// A certificate with its chain and key, with which we prove who we are.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCert {
    /// All of it.
    pub pem: String,
}

/// Sends requests; keeps connections alive between them.
pub struct Client {
    agents: Agents,
}

impl Client {
    /// `spawn` starts a thread in the way this process allows.
    pub fn new(spawn: Spawn) -> Self {
        Client::with_look_up(resolve::system, spawn)
    }

    fn with_look_up(look_up: LookUp, spawn: Spawn) -> Self {
        Client { agents: Agents::new(Names::new(look_up, spawn)) }
    }

    /// Sends `request` and reads the answer, that of the last redirect that is followed, as far as it comes.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn send(&self, request: &HttpRequest, job: &Job, limit: Duration) -> Result<Reply, Problem> {
        let end = Instant::now() + limit;
        socket::set_end(end);
        let mut hop = Hop::first(request, &job.credentials, job.network.max_request)?;
        let mut followed = 0;
        loop {
            let reply = self.exchange(&hop, job, end)?;
            if !redirect::is_redirect(reply.status) {
                return Ok(reply);
            }
            match hop.next(&reply, request.redirects) {
                Ok(next) if followed < redirect::MAX => hop = next,
                unfollowed => {
                    let why = unfollowed.err().unwrap_or(NotFollowed::TooMany);
                    return Ok(Reply { not_followed: Some(why), ..reply });
                }
            }
            followed += 1;
        }
    }

    fn exchange(&self, hop: &Hop, job: &Job, end: Instant) -> Result<Reply, Problem> {
        let exempt = hop.is_home && is_trusted(job, &hop.target);
        let problem = |error| Problem::Call { host: hop.target.to_string(), error };
        if let Some(refusal) = job.network.refusal(&hop.target).filter(|_| !exempt) {
            return Err(problem(refusal.into()));
        }
        resolve::set_chosen_by(chosen_by(job, hop));
        let client = job.client_certificate.as_ref().filter(|_| hop.is_home);
        let agent = self.agents.get(&job.network, exempt, client)?;
        let answer = open(&agent, hop, job, end).map_err(problem)?;
        if answer.status().is_success() && socket::was_cut_short() {
            return Err(problem(Reason::CutShort(answer.status()).into()));
        }
        let (reply, cut) = read(answer, job.network.max_answer);
        let flaw = |error| Flaw {
            is_limit: matches!(error, ureq::Error::BodyExceedsLimit(_)),
            reason: format!("the response was cut off: {}", problem(error).explain(job.timeout)),
        };
        Ok(Reply { flaw: cut.map(flaw), ..reply })
    }
}

/// Who has chosen the name that is looked up: behind a proxy it is the proxy's own.
fn chosen_by(job: &Job, hop: &Hop) -> ChosenBy {
    let has_base_url = job.provider.base_url.is_some() || job.trusted_base.is_some();
    let is_provider_s = job.network.proxy.is_some() || hop.is_home && has_base_url;
    if is_provider_s { ChosenBy::Interface } else { ChosenBy::Payload }
}

/// True if a superuser has chosen this host for the provider.
fn is_trusted(job: &Job, target: &Target) -> bool {
    let base = job.trusted_base.as_deref().and_then(|base| Target::parse(base).ok());
    base.is_some_and(|base| target.has_origin_of(&base))
}

/// Sends the request and reads the head of the answer. A kept-alive connection that turns out to be dead is
/// replaced; a new one is not, and none for what the provider could do twice: that has a connection of its own.
fn open(
    agent: &ureq::Agent,
    hop: &Hop,
    job: &Job,
    end: Instant,
) -> Result<http::Response<Body>, ureq::Error> {
    forget_connecting();
    let mut answer = open_once(agent, hop, job, end);
    // Each dead connection is out of the pool by that: in the end there is a new one.
    while job.repeatable && matches!(&answer, Err(error) if is_broken(error)) && !has_connected() {
        answer = open_once(agent, hop, job, end);
    }
    answer
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

/// Reads the body, and says why there is no more of it if that is not all.
fn read(mut answer: http::Response<Body>, max_size: u64) -> (Reply, Option<ureq::Error>) {
    let status = answer.status().as_u16();
    let headers = answer
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let mut body = Vec::new();
    let cut = answer.body_mut().with_config().limit(max_size).reader().read_to_end(&mut body).err();
    (Reply { status, headers, body, ..Reply::default() }, cut.map(ureq::Error::from))
}

/// True if the connection ended before an answer began.
fn is_broken(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error, ureq::Error::Io(error)
        if matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof))
}
