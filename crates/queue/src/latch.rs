//! Wakes other processes.

/// The latch of a process. A set latch wakes its process, or keeps it from going to sleep.
///
/// The decisions in this crate run in the middle of commits, so `set` must neither allocate nor fail.
pub trait Latch: Copy {
    /// Belongs to no process; setting it has no effect.
    const NONE: Self;

    fn set(&mut self);
}
