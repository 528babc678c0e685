//! What the extension expects of a table whose rows it writes without the executor.

/// A column, by its index in the list of its [`Wanted`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Column(pub usize);

impl Column {
    /// The primary key.
    pub const KEY: Column = Column(0);
}

/// A table with one bigint column as primary key.
pub struct Wanted {
    /// Definitions of columns as of [`super::definition`], the key first. The table may have them in any order, and may have
    /// others; in rows that are inserted these are null. Defaults and `identity` count if rows are inserted.
    pub columns: &'static [&'static str],
    /// The columns that are changed. They are part of no key.
    pub changed: &'static [Column],
    /// The predicates of the partial indexes, as PostgreSQL writes them. They are true of each row that is inserted,
    /// and false of each row that was changed.
    pub predicates: &'static [&'static str],
    pub inserts: Option<Inserts>,
    /// The definitions of indexes in whose order rows are read, as PostgreSQL writes them, from the word USING on.
    pub orders: &'static [&'static str],
}

/// How rows are inserted.
pub struct Inserts {
    /// The function of a trigger whose work the caller does.
    pub trigger: Option<&'static str>,
    /// The boolean columns that are false in each row that is inserted.
    pub are_false: &'static [Column],
}

/// Defines a [`Column`] for each entry of a list of column definitions, which are compared with those of the table. The
/// first one is the key.
macro_rules! columns {
    ($list:ident: $($column:ident = $definition:literal,)*) => {
        const $list: &[&str] = &[$($definition),*];
        columns!(@numbered 0; $($column,)*);
    };
    (@numbered $place:expr; $column:ident, $($others:ident,)*) => {
        pub const $column: Column = Column($place);
        columns!(@numbered $place + 1; $($others,)*);
    };
    (@numbered $place:expr;) => {};
}
pub(crate) use columns;
