//! What broke others of this kind, each as a test; docs/guarantees.md has the list, with the tests elsewhere.

mod crashes;
mod crowds;
mod dumps;
mod versions;
