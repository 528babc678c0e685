//! Calls to servers on the loopback interface.

mod guard;
mod limits;
mod proxy;
mod redirects;
mod request;
mod server;
mod tls;
mod uploads;

use super::*;
use crate::hosts::AllowList;
use crate::job::tests::job;
use crate::network::Network;
use crate::redirect::Redirects;
use server::{Server, response};
use std::net::IpAddr;
use std::sync::Arc;

/// Resolves names below `test` to loopback addresses. Other names do not exist.
fn local_names(name: &str) -> std::io::Result<Vec<IpAddr>> {
    let addresses: &[[u8; 4]] = match name {
        "inside.test" => &[[127, 0, 0, 1]],
        "two.test" => &[[127, 0, 0, 2], [127, 0, 0, 1]],
        _ => return Err(std::io::Error::other("unknown")),
    };
    Ok(addresses.iter().map(|address| IpAddr::from(*address)).collect())
}

fn client() -> Client {
    Client::with_look_up(local_names, crate::spawn::plainly)
}

/// A call that may go to `allowed`.
fn allowing(allowed: &str) -> Job {
    let network = Network {
        user_agent: "pg_errand/test",
        allowed: AllowList::parse(allowed).unwrap(),
        max_response_size: 10_000,
        max_request_size: 10_000,
        ..Network::default()
    };
    Job { network: Arc::new(network), ..job(1) }
}

fn get(url: &str) -> HttpRequest {
    HttpRequest { method: "GET".into(), url: url.into(), ..HttpRequest::default() }
}

/// Sends a request. Returns the response, or the reason why there is none.
fn send(client: &Client, request: &HttpRequest, job: &Job) -> Result<Response, String> {
    client.send(request, job, job.timeout)
}
