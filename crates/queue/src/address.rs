//! The address of a row in its table.

use std::num::NonZeroU16;

/// The address of a version of a row: its page, and its line on that page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Address {
    pub page: u32,
    /// Lines are numbered from 1; the unused 0 keeps an `Option<Address>` as small as an address.
    pub line: NonZeroU16,
}
