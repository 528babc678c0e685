//! Calls to providers, made on threads of their own so that many are under way while the worker
//! goes on with SQL. Nothing in here touches a PostgreSQL symbol.

mod http;
pub mod redact;
mod smtp;
mod timed;
mod wakeup;

use crate::interface::{Credential, Provider, Reply, Request};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
pub use http::{ClientCert, Network, ProxyServer};
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use wakeup::Wakeup;

/// A thread without work ends after this time.
const MAX_IDLE: Duration = Duration::from_secs(10);
/// Pause before asking again, when the provider is just processing a request with the same key.
const IN_PROGRESS_PAUSE: Duration = Duration::from_secs(1);

/// A call to make.
pub struct Job {
    /// By which its outcome is known.
    pub id: i64,
    pub provider: Arc<Provider>,
    pub request: Arc<Request>,
    pub credentials: Vec<Credential>,
    /// For the whole call, from its start to the last byte.
    pub timeout: Duration,
    pub network: Arc<Network>,
    /// URL of a host that a superuser has chosen: requests to it may go to a private network.
    pub trusted_base: Option<String>,
    pub client_certificate: Option<ClientCert>,
    /// The provider would recognize the request if it had it already.
    pub repeatable: bool,
}

/// What came of a call.
pub struct Outcome {
    pub id: i64,
    /// The provider's reply, or why there is none.
    pub reply: Result<Reply, String>,
    pub credentials: Vec<Credential>,
    pub took: Duration,
}

/// How many calls may be under way for another one to start at once.
#[derive(Clone, Copy)]
pub struct Room {
    /// Threads that go on with what waits.
    pub limit: usize,
    /// Threads for one call beside those.
    pub extra: usize,
}

/// The threads, and the channels to and from them.
pub struct Pool {
    jobs: Sender<Job>,
    waiting: Receiver<Job>,
    outcomes: Receiver<Outcome>,
    report: Sender<Outcome>,
    staff: Arc<Mutex<Staff>>,
    client: Arc<http::Client>,
    mail: Arc<smtp::Client>,
    wakeup: Arc<Wakeup>,
    spawn: http::Spawn,
}

impl Pool {
    /// `spawn` starts a thread in the way this process allows.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn new(spawn: http::Spawn) -> std::io::Result<Self> {
        let (jobs, waiting) = unbounded();
        let (report, outcomes) = unbounded();
        Ok(Pool {
            jobs,
            waiting,
            outcomes,
            report,
            staff: Arc::default(),
            client: Arc::new(http::Client::new(spawn)),
            mail: Arc::new(smtp::Client::new(spawn)),
            wakeup: Arc::new(Wakeup::new()?),
            spawn,
        })
    }

    /// Starts a call, as soon as there is `room` for it. Its outcome comes through [`Pool::outcome`].
    pub fn start(&self, job: Job, room: Room) {
        let place = lock(&self.staff).place(room);
        if place == Place::Waiting {
            let _ = self.jobs.send(job);
            return;
        }
        let id = job.id;
        let thread = Thread {
            waiting: self.waiting.clone(),
            report: self.report.clone(),
            staff: self.staff.clone(),
            client: self.client.clone(),
            mail: self.mail.clone(),
            wakeup: self.wakeup.clone(),
        };
        if let Err(error) = (self.spawn)(Box::new(move || thread.run(job, place))) {
            lock(&self.staff).leave(place);
            let reply = Err(format!("no thread for the call: {error}"));
            let credentials = Vec::new();
            let _ = self.report.send(Outcome { id, reply, credentials, took: Duration::ZERO });
            self.wakeup.signal();
        }
    }

    /// The next call that has ended, if there is one.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcomes.try_recv().ok()
    }

    /// To be called after a wait, before the outcomes are looked at.
    pub fn clear(&self) {
        self.wakeup.clear();
    }

    /// Becomes readable when a call has ended.
    pub fn readable(&self) -> RawFd {
        self.wakeup.descriptor()
    }
}

struct Thread {
    waiting: Receiver<Job>,
    report: Sender<Outcome>,
    staff: Arc<Mutex<Staff>>,
    client: Arc<http::Client>,
    mail: Arc<smtp::Client>,
    wakeup: Arc<Wakeup>,
}

/// Who makes a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A thread that there is, as soon as one is free.
    Waiting,
    /// A new thread, which goes on with what waits.
    Thread,
    /// A new thread, only for this call.
    Extra,
}

/// The threads there are.
#[derive(Default)]
struct Staff {
    threads: usize,
    /// Those for one call, beside `threads`.
    extra: usize,
    /// Those that wait for a job, less the jobs that wait for a thread.
    idle: isize,
}

impl Staff {
    /// Who gets the next job.
    fn place(&mut self, room: Room) -> Place {
        if self.idle <= 0 && self.threads < room.limit.max(1) {
            self.threads += 1;
            Place::Thread
        } else if self.idle <= 0 && self.extra < room.extra {
            self.extra += 1;
            Place::Extra
        } else {
            self.idle -= 1;
            Place::Waiting
        }
    }

    /// A thread that was started for a job has ended.
    fn leave(&mut self, place: Place) {
        match place {
            Place::Thread => self.threads -= 1,
            Place::Extra => self.extra -= 1,
            Place::Waiting => {}
        }
    }

    /// A thread without work may end, unless a job was promised to it.
    fn dismiss(&mut self) -> bool {
        let may = self.idle > 0;
        if may {
            self.idle -= 1;
            self.leave(Place::Thread);
        }
        may
    }
}

/// Nothing panics while it holds the lock.
fn lock(staff: &Mutex<Staff>) -> MutexGuard<'_, Staff> {
    staff.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Thread {
    fn run(self, first: Job, place: Place) {
        let outcome = self.perform(first);
        if place == Place::Thread {
            self.report(outcome);
            self.go_on();
        } else {
            // Before anybody knows: its place is for the next one.
            lock(&self.staff).leave(place);
            self.report(outcome);
        }
    }

    /// Makes the calls that wait, until there is nothing to do.
    fn go_on(self) {
        loop {
            lock(&self.staff).idle += 1;
            match self.waiting.recv_timeout(MAX_IDLE) {
                Ok(job) => self.report(self.perform(job)),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    self.mail.tidy();
                    if lock(&self.staff).dismiss() {
                        return;
                    }
                    match self.waiting.recv() {
                        Ok(job) => self.report(self.perform(job)),
                        Err(_) => return,
                    }
                }
            }
        }
    }

    fn report(&self, outcome: Outcome) {
        let _ = self.report.send(outcome);
        self.wakeup.signal();
    }

    /// Makes a call; whatever happens, it has an outcome.
    fn perform(&self, job: Job) -> Outcome {
        let start = Instant::now();
        let reply = catch_unwind(AssertUnwindSafe(|| self.call(&job, start)))
            .unwrap_or_else(|_| Err("the call failed inside pg_errand".into()))
            .map(|reply| redact::reply(reply, &job.credentials))
            .map_err(|reason| redact::text(&reason, &job.credentials));
        Outcome { id: job.id, reply, credentials: job.credentials, took: start.elapsed() }
    }

    fn call(&self, job: &Job, start: Instant) -> Result<Reply, String> {
        loop {
            let left = job.timeout.saturating_sub(start.elapsed());
            let reply = self.send(job, left)?;
            let enough_time = start.elapsed() + IN_PROGRESS_PAUSE < job.timeout;
            if !(job.provider.interface.is_in_progress(&reply) && enough_time) {
                return Ok(reply);
            }
            std::thread::sleep(IN_PROGRESS_PAUSE);
        }
    }

    fn send(&self, job: &Job, limit: Duration) -> Result<Reply, String> {
        match job.request.as_ref() {
            Request::Http(request) => {
                self.client.send(request, job, limit).map_err(|problem| problem.explain(job.timeout))
            }
            Request::Smtp(request) => self.mail.send(request, job, limit),
            Request::Local { answer, .. } => {
                Ok(Reply { status: 200, body: answer.to_string().into_bytes(), ..Reply::default() })
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::hosts::AllowList;
    use crate::interface::HttpRequest;
    use crate::interface::simulated::Simulated;
    use serde_json::json;

    pub fn spawn(body: Box<dyn FnOnce() + Send>) -> std::io::Result<()> {
        std::thread::Builder::new().spawn(body).map(|_| ())
    }

    pub fn job(id: i64) -> Job {
        Job {
            id,
            provider: Arc::new(Provider::plain(&Simulated)),
            request: Arc::new(Request::Local { answer: json!({ "n": id }), message: None }),
            credentials: Vec::new(),
            timeout: Duration::from_secs(5),
            network: Arc::default(),
            trusted_base: None,
            client_certificate: None,
            repeatable: true,
        }
    }

    /// One that is connected to, but never answered.
    fn hanging(id: i64, server: &std::net::TcpListener) -> Job {
        let url = format!("http://{}/", server.local_addr().unwrap());
        let request = HttpRequest { method: "GET".into(), url, ..HttpRequest::default() };
        let network = Network {
            allowed: AllowList::parse("127.0.0.1").unwrap(),
            max_answer: 1_000,
            max_request: 1_000,
            ..Network::default()
        };
        Job { request: Arc::new(Request::Http(request)), network: Arc::new(network), ..job(id) }
    }

    const SOME: Room = Room { limit: 64, extra: 0 };

    #[test]
    fn every_job_has_an_outcome() {
        let pool = Pool::new(spawn).unwrap();
        (0..500).for_each(|id| pool.start(job(id), SOME));
        let mut ids: Vec<i64> = (0..500).map(|_| pool.outcomes.recv().unwrap().id).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn no_more_threads_than_calls_may_be_under_way() {
        let pool = Pool::new(spawn).unwrap();
        (0..100).for_each(|id| pool.start(job(id), Room { limit: 3, extra: 0 }));
        assert!(lock(&pool.staff).threads <= 3);
        (0..100).for_each(|_| drop(pool.outcomes.recv().unwrap()));
    }

    #[test]
    fn a_call_that_has_not_to_wait_overtakes_those_that_do() {
        let pool = Pool::new(spawn).unwrap();
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let room = Room { limit: 2, extra: 0 };
        (0..5).for_each(|id| pool.start(hanging(id, &silent), room));
        (5..8).for_each(|id| {
            pool.start(job(id), Room { extra: 1, ..room });
            assert_eq!(pool.outcomes.recv().unwrap().id, id);
        });
        assert_eq!(lock(&pool.staff).threads, 2);
    }

    #[test]
    fn a_thread_that_cannot_be_started_is_an_outcome() {
        let pool = Pool::new(|_| Err(std::io::Error::other("none left"))).unwrap();
        pool.start(job(1), SOME);
        assert!(pool.outcome().unwrap().reply.as_ref().unwrap_err().contains("none left"));
    }
}
