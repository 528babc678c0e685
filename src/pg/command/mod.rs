//! SQL commands that concern the workers of a database, seen before they run.

mod access;
mod meaning;
mod notice;
mod tree;
mod utility;

pub use access::is_access_watched;
pub use notice::Notice;
pub(super) use utility::{Hook, standard_ProcessUtility};

/// Registers `observer`, which is invoked before each command that concerns workers and may raise an error. It is
/// registered once per library load.
pub fn observe(observer: fn(Notice)) {
    notice::set_observer(observer);
    utility::install();
    access::install();
}
