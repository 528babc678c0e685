//! Threads in addition to PostgreSQL's main thread.

use std::thread::{Builder, JoinHandle};

/// Spawns a thread with all signals blocked, since PostgreSQL's signal handlers must run on the main thread. Threads
/// that the new thread starts inherit this.
///
/// # Errors
/// If the system cannot create a thread.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    // SAFETY: plain POSIX calls on properly initialized sets; the mask is put back right after.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut previous: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut previous);
        let thread = Builder::new().name(name.to_owned()).spawn(body);
        libc::pthread_sigmask(libc::SIG_SETMASK, &previous, std::ptr::null_mut());
        thread
    }
}
