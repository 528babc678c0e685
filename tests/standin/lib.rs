//! A stand-in for the HTTP interface of Resend, as strict as its published description, that misbehaves on demand.
//!
//! - [`Standin`] is the server: it runs on a thread and a runtime of its own and listens on the loopback interface only.
//!   It answers `POST /emails`, remembers what it was asked ([`Standin::requests`]) and which mails it took
//!   ([`Standin::mails`]).
//! - [`Behaviour`] says how one request is answered: late, never, with garbage, by a reset. Rules choose it per mail
//!   ([`Standin::behave`]); mails to `…@behave.test` choose it themselves (module `resend::patterns`).
//! - [`Standin::hold`] and [`Standin::release`] keep answers back until a test has looked, so that no test sleeps for luck.
//! - [`RawServer`] is the same server without Resend behind it, for any other HTTP interface; [`Web`] one that only
//!   answers, as a closure says.
//!
//! From the socket inwards: `server` accepts, `connection` reads a [`Request`], a `Service` judges it (`resend` is one),
//! `perform` carries the behaviour out.

mod answer;
mod behaviour;
mod connection;
mod gate;
mod options;
mod perform;
mod raw;
mod request;
mod resend;
mod server;
mod service;
mod standin;
#[cfg(test)]
mod tests;
mod web;

pub use answer::Answer;
pub use behaviour::{Behaviour, End};
pub use options::Options;
pub use raw::RawServer;
pub use request::Request;
pub use resend::{Mail, Submission};
pub use server::Exchange;
pub use standin::Standin;
pub use web::Web;
