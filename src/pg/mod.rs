//! The only modules with `unsafe` code: small, safe interfaces to PostgreSQL's C functions, a file per subject.
//!
//! Invariant: everything here belongs to the main thread of a backend. Threads that call providers never use it.

#![allow(unsafe_code)]

pub mod abi;
pub mod activity;
pub mod backend;
pub mod bgworker;
pub mod callbacks;
mod callee;
pub mod catalog;
pub mod catch;
pub mod citus;
mod cleared_text;
pub mod command;
mod constraint;
mod dblink;
pub mod dependency;
pub mod directory;
pub mod entry;
pub mod function;
pub mod guc;
mod guc_access;
mod guc_check;
mod heap;
pub mod home;
pub mod ident;
pub mod implied;
pub mod interrupt;
pub mod invalidation;
pub mod journal;
pub mod jsonb;
pub mod jsonb_field;
pub mod jsonb_parts;
pub mod jsonb_size;
pub mod key_lock;
pub mod latch;
pub mod libraries;
pub mod log;
mod majors;
mod own;
mod placeholder;
pub mod procedure;
pub mod remote;
pub mod rows;
mod runaway;
pub mod secret;
pub mod session;
pub mod shape;
pub mod shmem;
mod shown_text;
pub mod spi;
pub mod statement;
pub mod stats_memory;
pub mod table;
mod temp_buffers;
pub mod thread;
pub mod time;
pub mod timeout;
mod traces;
pub mod transaction;
pub mod trigger;
pub mod wait_event;
