//! Threads that make calls, so that many are in flight while the worker runs SQL.

mod staff;
mod thread;
mod wakeup;

use crate::job::{Job, Outcome};
use crate::spawn::Spawn;
use crate::{http, smtp};
use crossbeam_channel::{Receiver, Sender, unbounded};
use staff::Assignment;
pub use staff::Room;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;
use thread::Shared;
use wakeup::Wakeup;

/// The threads, and the channels to and from them.
pub struct Pool {
    jobs: Sender<Job>,
    outcomes: Receiver<Outcome>,
    shared: Shared,
    spawn: Spawn,
}

impl Pool {
    /// # Errors
    /// If the system has no file descriptor left.
    pub fn new(spawn: Spawn) -> std::io::Result<Self> {
        let (jobs, queue) = unbounded();
        let (report, outcomes) = unbounded();
        let shared = Shared {
            queue,
            outcomes: report,
            staff: Arc::default(),
            http: Arc::new(http::Client::new(spawn)),
            smtp: Arc::new(smtp::Client::new(spawn)),
            wakeup: Arc::new(Wakeup::new()?),
        };
        Ok(Pool { jobs, outcomes, shared, spawn })
    }

    /// Starts a call as soon as there is `room` for it. Its outcome comes through [`Pool::outcome`].
    pub fn start(&self, job: Job, room: Room) {
        let assignment = self.shared.staff().assign(room);
        if assignment == Assignment::Queued {
            let _ = self.jobs.send(job);
            return;
        }
        let (id, thread) = (job.id, self.shared.clone());
        if let Err(error) = (self.spawn)(Box::new(move || thread.run(job, assignment))) {
            self.shared.staff().leave(assignment);
            let response = Err(format!("no thread for the call: {error}"));
            self.shared.report(Outcome { id, response, credentials: Vec::new(), took: Duration::ZERO });
        }
    }

    /// Returns the next call that has ended, if there is one.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcomes.try_recv().ok()
    }

    /// Resets [`Pool::readable`]. Must be called after a wait, before the outcomes are read.
    pub fn clear(&self) {
        self.shared.wakeup.clear();
    }

    /// A descriptor that becomes readable when a call has ended.
    pub fn readable(&self) -> RawFd {
        self.shared.wakeup.descriptor()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::AllowList;
    use crate::job::tests::job;
    use crate::network::Network;
    use crate::request::{HttpRequest, Request};
    use crate::spawn;

    /// A call whose server accepts the connection and never responds.
    fn hanging(id: i64, server: &std::net::TcpListener) -> Job {
        let url = format!("http://{}/", server.local_addr().unwrap());
        let request = HttpRequest { method: "GET".into(), url, ..HttpRequest::default() };
        let network = Network {
            allowed: AllowList::parse("127.0.0.1").unwrap(),
            max_response_size: 1_000,
            max_request_size: 1_000,
            ..Network::default()
        };
        Job { request: Arc::new(Request::Http(request)), network: Arc::new(network), ..job(id) }
    }

    const SOME: Room = Room { limit: 64, extra: 0 };

    #[test]
    fn every_job_has_an_outcome() {
        let pool = Pool::new(spawn::plainly).unwrap();
        (0..500).for_each(|id| pool.start(job(id), SOME));
        let mut ids: Vec<i64> = (0..500).map(|_| pool.outcomes.recv().unwrap().id).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn no_more_threads_than_calls_may_be_in_flight() {
        let pool = Pool::new(spawn::plainly).unwrap();
        (0..100).for_each(|id| pool.start(job(id), Room { limit: 3, extra: 0 }));
        assert!(pool.shared.staff().threads <= 3);
        (0..100).for_each(|_| drop(pool.outcomes.recv().unwrap()));
    }

    #[test]
    fn a_call_that_has_not_to_wait_overtakes_those_that_do() {
        let pool = Pool::new(spawn::plainly).unwrap();
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let room = Room { limit: 2, extra: 0 };
        (0..5).for_each(|id| pool.start(hanging(id, &silent), room));
        (5..8).for_each(|id| {
            pool.start(job(id), Room { extra: 1, ..room });
            assert_eq!(pool.outcomes.recv().unwrap().id, id);
        });
        assert_eq!(pool.shared.staff().threads, 2);
    }

    #[test]
    fn a_thread_that_cannot_be_started_is_an_outcome() {
        let pool = Pool::new(|_| Err(std::io::Error::other("none left"))).unwrap();
        pool.start(job(1), SOME);
        assert!(pool.outcome().unwrap().response.as_ref().unwrap_err().contains("none left"));
    }
}
