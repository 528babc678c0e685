//! What a worker has taken from the queue.

use crate::shared::{KeyEntry, Lane, Position};

/// What a worker has taken from the queue: a task at its position, or a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    Task(Lane, Position),
    Key(Lane, KeyEntry),
}
