//! SQL commands that concern the workers of a database, seen before they run.

mod access;
mod meaning;
mod notice;
mod tree;
mod utility;

pub use access::is_access_watched;
pub use notice::Notice;
use std::ffi::CStr;
pub(super) use utility::{Hook, standard_ProcessUtility};

/// Calls `observer` for each command that concerns workers, before the command runs; it may raise an error. Once per
/// library load.
pub fn observe(observer: fn(Notice)) {
    notice::set_observer(observer);
    install();
}

/// Calls `reader` with the text of each command, before the command runs; it may raise an error. Once per library load.
pub fn read(reader: fn(&CStr)) {
    notice::set_reader(reader);
    install();
}

fn install() {
    utility::install();
    access::install();
}
