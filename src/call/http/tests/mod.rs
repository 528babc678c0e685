//! Calls to servers on the loopback interface.

mod guard;
mod limits;
mod proxy;
mod redirects;
mod request;
mod server;
mod tls;

use super::*;
use crate::call::tests::{job, spawn};
use crate::hosts::AllowList;
use crate::interface::Redirects;
use server::{Server, reply};
use std::net::IpAddr;
use std::sync::Arc;

/// Only names below `test` exist; they are those of the local machine.
fn local_names(name: &str) -> std::io::Result<Vec<IpAddr>> {
    let addresses: &[[u8; 4]] = match name {
        "inside.test" => &[[127, 0, 0, 1]],
        "two.test" => &[[127, 0, 0, 2], [127, 0, 0, 1]],
        _ => return Err(std::io::Error::other("unknown")),
    };
    Ok(addresses.iter().map(|address| IpAddr::from(*address)).collect())
}

fn client() -> Client {
    Client::with_look_up(local_names, spawn)
}

/// A call that may go to `allowed`.
fn allowing(allowed: &str) -> Job {
    let network = Network {
        allowed: AllowList::parse(allowed).unwrap(),
        max_answer: 10_000,
        max_request: 10_000,
        ..Network::default()
    };
    Job { network: Arc::new(network), ..job(1) }
}

fn get(url: &str) -> HttpRequest {
    HttpRequest { method: "GET".into(), url: url.into(), ..HttpRequest::default() }
}

/// The reply, or why there is none.
fn send(client: &Client, request: &HttpRequest, job: &Job) -> Result<Reply, String> {
    client.send(request, job, job.timeout).map_err(|problem| problem.explain(job.timeout))
}
