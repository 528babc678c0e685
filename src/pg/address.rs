//! The place of a version of a row in its table.

/// A page of the table, and the number of the line pointer on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    pub page: u32,
    pub line: u16,
}
