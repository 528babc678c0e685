//! The sockets under `ureq`. In some steps (a proxy's reply, a large request) `ureq`'s own sockets restart their time
//! limit with each read or write, so that a slow peer could keep a call for ever.

use crate::call::timed::Timed;
use std::cell::Cell;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout,
    RustlsConnector, Transport,
};
use ureq::{Error, Timeout};

thread_local! {
    /// When the call that this thread makes has to be over.
    static END: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// To be called before a call's first request.
pub fn set_end(end: Instant) {
    END.set(Some(end));
}

/// Directly or through a proxy, encrypted if the URL says so.
pub fn connector() -> impl Connector {
    ().chain(ConnectProxyConnector::default()).chain(TimedConnector).chain(RustlsConnector::default())
}

/// Opens a socket, unless the proxy's connector has done so.
#[derive(Debug)]
struct TimedConnector;

impl<In: Transport> Connector<In> for TimedConnector {
    type Out = Either<In, Socket>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        if let Some(transport) = chained {
            return Ok(Some(Either::A(transport)));
        }
        let socket = connect(details)?;
        let buffers =
            LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(Socket { socket, buffers })))
    }
}

/// To the first address that answers; each gets its share of the time that is left.
fn connect(details: &ConnectionDetails) -> Result<Timed, Error> {
    let end = end_of(&details.timeout);
    let mut problem = Error::ConnectionFailed;
    for (n, address) in details.addrs.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        let share = left / (details.addrs.len() - n) as u32;
        if share.is_zero() {
            return Err(Error::Timeout(details.timeout.reason));
        }
        match Timed::connect(*address, share, end) {
            Ok(socket) => return Ok(socket),
            Err(error) => problem = problem_of(error, Timeout::Connect),
        }
    }
    Err(problem)
}

/// The end of the call, or of one of its steps.
fn end_of(timeout: &NextTimeout) -> Instant {
    let step = Instant::now().checked_add(*timeout.after);
    [step, END.get()].into_iter().flatten().min().unwrap_or_else(Instant::now)
}

fn problem_of(error: io::Error, reason: Timeout) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::Timeout(reason),
        _ => Error::Io(error),
    }
}

struct Socket {
    socket: Timed,
    buffers: LazyBuffers,
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.socket.set_end(end_of(&timeout));
        let output = &self.buffers.output()[..amount];
        self.socket.write_all(output).map_err(|error| problem_of(error, timeout.reason))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.socket.set_end(end_of(&timeout));
        let read = self.socket.read(self.buffers.input_append_buf());
        let size = read.map_err(|error| problem_of(error, timeout.reason))?;
        self.buffers.input_appended(size);
        Ok(size > 0)
    }

    fn is_open(&mut self) -> bool {
        self.socket.is_quiet()
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").finish_non_exhaustive()
    }
}
