//! A thread that makes calls.

use super::staff::{Assignment, Staff};
use super::wakeup::Wakeup;
use crate::job::{Job, Outcome};
use crate::request::Request;
use crate::response::Response;
use crate::{http, redact, smtp};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The time after which an idle thread ends.
const MAX_IDLE: Duration = Duration::from_secs(10);
/// The pause before a request is sent again if the provider reports that it is being processed.
const IN_PROGRESS_PAUSE: Duration = Duration::from_secs(1);

/// The state that the threads of a pool share.
#[derive(Clone)]
pub struct Shared {
    pub queue: Receiver<Job>,
    pub outcomes: Sender<Outcome>,
    pub staff: Arc<Mutex<Staff>>,
    pub http: Arc<http::Client>,
    pub smtp: Arc<smtp::Client>,
    pub wakeup: Arc<Wakeup>,
}

impl Shared {
    /// No code panics while it holds this lock.
    pub fn staff(&self) -> MutexGuard<'_, Staff> {
        self.staff.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn report(&self, outcome: Outcome) {
        let _ = self.outcomes.send(outcome);
        self.wakeup.signal();
    }

    /// The body of a thread: makes the call for which the thread was started, and then those that are queued.
    pub fn run(self, first: Job, assignment: Assignment) {
        let outcome = self.perform(first);
        if assignment == Assignment::Thread {
            self.report(outcome);
            self.run_queued();
        } else {
            // The next call may be started as soon as this outcome is known, so the thread is removed from the count
            // first.
            self.staff().leave(assignment);
            self.report(outcome);
        }
    }

    fn run_queued(self) {
        loop {
            self.staff().add_idle();
            match self.queue.recv_timeout(MAX_IDLE) {
                Ok(job) => self.report(self.perform(job)),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    self.smtp.close_idle();
                    if self.staff().dismiss() {
                        return;
                    }
                    match self.queue.recv() {
                        Ok(job) => self.report(self.perform(job)),
                        Err(_) => return,
                    }
                }
            }
        }
    }

    /// Makes a call. There is an outcome even if the call panics.
    fn perform(&self, job: Job) -> Outcome {
        let start = Instant::now();
        let response = catch_unwind(AssertUnwindSafe(|| self.call(&job, start)))
            .unwrap_or_else(|_| Err("the call failed inside pg_errand".into()));
        let response = redact::outcome(response, &job.credentials);
        Outcome { id: job.id, response, credentials: job.credentials, took: start.elapsed() }
    }

    fn call(&self, job: &Job, start: Instant) -> Result<Response, String> {
        loop {
            let left = job.timeout.saturating_sub(start.elapsed());
            let response = self.send(job, left)?;
            let has_time = start.elapsed() + IN_PROGRESS_PAUSE < job.timeout;
            if !(job.provider.interface.is_in_progress(&response) && has_time) {
                return Ok(response);
            }
            std::thread::sleep(IN_PROGRESS_PAUSE);
        }
    }

    fn send(&self, job: &Job, limit: Duration) -> Result<Response, String> {
        match job.request.as_ref() {
            Request::Http(request) => self.http.send(request, job, limit),
            Request::Smtp(request) => self.smtp.send(request, job, limit),
            Request::Local { response, .. } => {
                Ok(Response { status: 200, body: response.to_string().into_bytes(), ..Response::default() })
            }
        }
    }
}
