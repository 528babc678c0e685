//! The address of a row in its table.

/// The address of a version of a row: its page, and its line on that page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Address {
    pub page: u32,
    pub line: u16,
}
