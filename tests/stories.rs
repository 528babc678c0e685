//! Failures that users of similar software have reported, each as a test. docs/guarantees.md names those in other files.

mod crashes;
mod crowds;
mod dumps;
mod versions;
