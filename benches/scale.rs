//! The number of tasks that are measured, and the duration.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    Small,
    Default,
    Full,
}

impl Scale {
    /// The one of three sizes that belongs to this scale.
    pub fn of<T>(self, small: T, default: T, full: T) -> T {
        match self {
            Self::Small => small,
            Self::Default => default,
            Self::Full => full,
        }
    }
}
