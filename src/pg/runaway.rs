//! Ends a worker whose handler runs an endless computation in the interpreter of a procedural language.
//!
//! Signals take effect at CHECK_FOR_INTERRUPTS, which such an interpreter never reaches by itself. If a process
//! continues after a request to end, a timer that measures its CPU time examines what it executes. If the process holds
//! off no interrupts and executes code of an interpreter, it is ended immediately, as by a FATAL error: no code of
//! PostgreSQL or of the allocator has been interrupted then. In all other cases nothing is done.

use super::{backend, libraries, log};
use pgrx::pg_sys;
use std::ops::ControlFlow;
use std::os::raw::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// The CPU time in seconds that the process may use after a request to end. Code that checks for interrupts has done so
/// by then.
const GRACE: libc::time_t = 1;
/// The pause between two examinations after [`GRACE`], in microseconds.
const AGAIN: libc::suseconds_t = 20_000;

/// The beginnings of the names of interpreters' libraries: for PL/Perl, PL/Python and PL/Tcl.
const INTERPRETERS: [&[u8]; 3] = [b"libperl.so", b"libpython", b"libtcl"];

/// The length at which lines of /proc/self/maps are truncated. No library of the system has such a long path.
const MAX_LINE: usize = 512;

/// Installs the handler of the timer's signal.
pub fn install() {
    // SAFETY: a complete description, and a handler of the type that SA_SIGINFO requires.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_time as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        libc::sigaction(libc::SIGVTALRM, &action, std::ptr::null_mut());
    }
}

/// Whether the timer runs. Only the first of several requests to end starts the timer.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Starts to watch this process after a request to end. It may be invoked in a signal handler.
pub fn watch() {
    if WATCHED.swap(true, Relaxed) {
        return;
    }
    let timer = libc::itimerval {
        it_value: libc::timeval { tv_sec: GRACE, tv_usec: 0 },
        it_interval: libc::timeval { tv_sec: 0, tv_usec: AGAIN },
    };
    // SAFETY: a system call that reads the struct.
    unsafe {
        libc::setitimer(libc::ITIMER_VIRTUAL, &timer, std::ptr::null_mut());
    }
}

/// SIGVTALRM's handler.
unsafe extern "C-unwind" fn on_time(_signal: c_int, _info: *const libc::siginfo_t, context: *const c_void) {
    // SAFETY: plain counters and flags of this process. The kernel passes the context of the main thread, since
    // all others block every signal.
    let at = unsafe {
        let may_end = pg_sys::ProcDiePending != 0
            && pg_sys::InterruptHoldoffCount == 0
            && pg_sys::CritSectionCount == 0
            && !pg_sys::proc_exit_inprogress;
        if !may_end {
            return;
        }
        program_counter(context.cast())
    };
    if at.is_some_and(|at| keeping_errno(|| is_in_interpreter(at))) {
        log::event(
            log::LogLevel::Error,
            "a handler goes on computing although its worker was told to end".into(),
        );
        backend::exit(1);
    }
}

/// Runs `body` without a change of `errno`, which the interrupted code may be about to read.
fn keeping_errno<R>(body: impl FnOnce() -> R) -> R {
    #[cfg(target_os = "linux")]
    // SAFETY: the number of this thread.
    unsafe {
        let number = libc::__errno_location();
        let before = *number;
        let result = body();
        *number = before;
        result
    }
    #[cfg(not(target_os = "linux"))]
    body()
}

/// [`libraries::loads`] when the libraries were last examined.
static LOADED: AtomicU64 = AtomicU64::new(0);
/// Whether an interpreter was among them.
static HAS_INTERPRETER: AtomicBool = AtomicBool::new(false);

/// True if this process has loaded an interpreter. As long as it loads no further library, the check is cheap.
pub fn has_interpreter() -> bool {
    let loads = libraries::loads();
    if LOADED.swap(loads, Relaxed) != loads {
        HAS_INTERPRETER.store(libraries::any(|name| names_interpreter(name.as_bytes())), Relaxed);
    }
    HAS_INTERPRETER.load(Relaxed)
}

/// The address of the instruction that the signal interrupted.
unsafe fn program_counter(context: *const libc::ucontext_t) -> Option<usize> {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    // SAFETY: on the caller's promise.
    return Some(unsafe { (*context).uc_mcontext.gregs[libc::REG_RIP as usize] } as usize);
    #[cfg(all(target_os = "linux", target_arch = "aarch64"))]
    // SAFETY: on the caller's promise.
    return Some(unsafe { (*context).uc_mcontext.pc } as usize);
    #[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
    {
        let _ = context;
        None
    }
}

/// True if the code at this address belongs to an interpreter. It makes system calls only and allocates nothing.
fn is_in_interpreter(address: usize) -> bool {
    let mut found = false;
    let mut line = [0; MAX_LINE];
    let mut length = 0;
    read_maps(|byte| {
        if byte != b'\n' {
            if let Some(place) = line.get_mut(length) {
                *place = byte;
                length += 1;
            }
            return ControlFlow::Continue(());
        }
        let line = &line[..std::mem::take(&mut length)];
        if !covers(line, address) {
            return ControlFlow::Continue(());
        }
        found = names_interpreter(line);
        ControlFlow::Break(())
    });
    found
}

/// Passes on the content of /proc/self/maps, byte by byte.
fn read_maps(mut each: impl FnMut(u8) -> ControlFlow<()>) {
    let mut buffer = [0u8; 4096];
    // SAFETY: system calls; at most as many bytes are written as the buffer has.
    unsafe {
        let file = libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if file < 0 {
            return;
        }
        loop {
            let read = libc::read(file, buffer.as_mut_ptr().cast(), buffer.len());
            if read <= 0 || buffer[..read as usize].iter().try_for_each(|byte| each(*byte)).is_break() {
                break;
            }
        }
        libc::close(file);
    }
}

/// True if the mapping that a line of /proc/self/maps describes ("start-end …", hexadecimal) contains the address.
fn covers(line: &[u8], address: usize) -> bool {
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0usize, |number, digit| {
            let digit = (*digit as char).to_digit(16)?;
            number.checked_mul(16)?.checked_add(digit as usize)
        })
    };
    let mut bounds = line.split(|byte| matches!(byte, b'-' | b' ')).map(number);
    match (bounds.next().flatten(), bounds.next().flatten()) {
        (Some(start), Some(end)) => (start..end).contains(&address),
        _ => false,
    }
}

/// True for the path of an interpreter's library, or a line that ends with one.
fn names_interpreter(line: &[u8]) -> bool {
    let name = line.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    INTERPRETERS.iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] =
        b"7f54c1a00000-7f54c1b4d000 r-xp 00052000 fe:00 1234   /usr/lib/x86_64-linux-gnu/libperl.so.5.36.0";

    #[test]
    fn an_address_is_looked_up_by_the_bounds_of_its_mapping() {
        assert!(covers(LINE, 0x7f54_c1a0_0000) && covers(LINE, 0x7f54_c1b4_cfff));
        assert!(!covers(LINE, 0x7f54_c1b4_d000) && !covers(LINE, 0) && !covers(b"", 0) && !covers(b"x-y", 0));
    }

    #[test]
    fn interpreters_are_known_by_the_names_of_their_libraries() {
        assert!(names_interpreter(LINE));
        for line in
            ["5-6 r-xp 0 0:0 0 /usr/lib/postgresql/15/bin/postgres", "5-6 r-xp 0 0:0 0", "/lib/libc.so.6", ""]
        {
            assert!(!names_interpreter(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn code_of_this_program_is_no_interpreter_s() {
        assert!(!is_in_interpreter(is_in_interpreter as *const () as usize));
    }
}
