//! Waking other processes.

/// The latch of a process. A set latch wakes its process, or keeps it from going to sleep.
///
/// The decisions in this crate run in the middle of commits, so `set` must neither allocate nor fail.
pub trait Latch: Copy {
    /// No process's latch; setting it does nothing.
    const NONE: Self;

    fn set(&mut self);
}
