//! Mails (RFC 5322): from the fields of a payload to the bytes that are sent to a mail server.

pub mod fields;
mod header_text;
mod headers;
pub mod lines;
pub mod mailbox;
pub mod message;
mod mime;
mod parties;
