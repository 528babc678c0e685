//! The sections of the page, by subject.

pub mod failures;
pub mod overview;
pub mod plots;
pub mod providers;
pub mod settings;
pub mod tasks;
pub mod types;
