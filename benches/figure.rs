//! A figure: a quantity that can be measured.

use crate::result::Result;
use crate::run::Run;

pub struct Figure {
    pub name: &'static str,
    /// One line for `--list`.
    pub what: &'static str,
    /// Whether it is measured even if it is not named.
    pub usual: bool,
    pub run: fn(&mut Run) -> Result<()>,
}

/// A figure that is measured even if it is not named.
pub const fn figure(name: &'static str, what: &'static str, run: fn(&mut Run) -> Result<()>) -> Figure {
    Figure { name, what, usual: true, run }
}

/// A figure that is measured only if it is named.
pub const fn by_name(name: &'static str, what: &'static str, run: fn(&mut Run) -> Result<()>) -> Figure {
    Figure { name, what, usual: false, run }
}
