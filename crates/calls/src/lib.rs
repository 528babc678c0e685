//! The parts of a provider call that need no database: interfaces, requests and responses, the network, and the threads
//! that use it.
//!
//! The crate does not depend on PostgreSQL: settings and secrets are passed in, see [`settings::Settings`]. So no
//! thread can use a symbol of the server, and the tests need no server.
//!
//! Dependencies go one way: values such as [`request`] and [`response`] are at the bottom, the [`interface`]s use them,
//! a [`provider`] is a row with its interface, and the [`pool`] sends requests by the clients for HTTP and SMTP.

#![forbid(unsafe_code)]

mod auth;
mod charset;
mod contains;
pub mod content;
pub mod credential;
pub mod envelope;
mod error_text;
mod expect;
mod fields;
mod form;
mod header;
pub mod hosts;
mod http;
pub mod interface;
pub mod job;
pub mod json;
pub mod key;
pub mod limits;
mod mail;
pub mod message_shape;
mod names;
pub mod nearest;
pub mod network;
pub mod pool;
pub mod prepared;
pub mod provider;
pub mod provider_row;
pub mod redact;
mod redirect;
pub mod request;
pub mod response;
pub mod result;
pub mod retry_after;

mod seconds;
pub mod secret;
pub mod settings;
pub mod sms;
mod smtp;
pub mod spawn;
pub mod statement;
pub mod task_type;
mod template;
mod timed;
mod tls;
pub mod traceparent;
mod unfollowed;
