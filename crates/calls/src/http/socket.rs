//! The sockets under `ureq`. Its own sockets restart their time limit with each read or write in some steps (the
//! handshake with a proxy, a large request), so that a slow peer could keep a call open forever.

use super::interim::SkippingInterim;
use crate::timed::Timed;
use std::cell::Cell;
use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout,
    RustlsConnector, Transport,
};
use ureq::{Error, Timeout};

/// The size in bytes from which on the peer may refuse a request before the request has arrived completely.
const LARGE: usize = 128 * 1024;
/// The interval at which a refusal is checked for while the peer accepts no data.
const LOOK: Duration = Duration::from_millis(250);

thread_local! {
    /// The deadline of the call that this thread makes.
    static END: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Whether the peer has not read all of the request that this thread sends.
    static CUT_SHORT: Cell<bool> = const { Cell::new(false) };
}

/// Must be called before a call's first request.
pub fn set_end(end: Instant) {
    END.set(Some(end));
}

/// Must be called before a request is sent.
pub fn forget_cut() {
    CUT_SHORT.set(false);
}

/// True if the peer has not accepted the whole request.
pub fn was_cut_short() -> bool {
    CUT_SHORT.get()
}

/// Connects directly or through a proxy, with encryption if the URL requires it.
pub fn connector() -> impl Connector {
    ().chain(ConnectProxyConnector::default())
        .chain(TimedConnector)
        .chain(RustlsConnector::default())
        .chain(SkippingInterim)
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
        Ok(Some(Either::B(Socket { line: Line { socket, sent: 0, unwanted: None }, buffers })))
    }
}

/// Connects to the first address that responds. Each one receives its share of the remaining time.
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

/// Returns the deadline of the call or of one of its steps, whichever is earlier.
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
    line: Line,
    buffers: LazyBuffers,
}

struct Line {
    socket: Timed,
    /// The number of bytes of the request that were sent.
    sent: usize,
    /// Set if the peer does not read the rest of the request: the error to report if it does not respond.
    unwanted: Option<ErrorKind>,
}

impl Line {
    /// Sends a part of the request, until the peer reads no more of it.
    fn send(&mut self, mut part: &[u8]) -> io::Result<()> {
        while !part.is_empty() && self.unwanted.is_none() {
            if self.sent >= LARGE && self.socket.is_refused() {
                self.give_up(ErrorKind::ConnectionAborted);
                break;
            }
            let size = match self.socket.write_within(part, LOOK) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(size) => size,
                Err(error) if is_hung_up(&error) => {
                    self.give_up(error.kind());
                    break;
                }
                Err(error) => return Err(error),
            };
            self.sent += size;
            part = &part[size..];
        }
        Ok(())
    }

    fn give_up(&mut self, problem: ErrorKind) {
        self.unwanted = Some(problem);
        CUT_SHORT.set(true);
    }
}

fn is_hung_up(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted)
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.line.socket.set_end(end_of(&timeout));
        let part = &self.buffers.output()[..amount];
        self.line.send(part).map_err(|error| problem_of(error, timeout.reason))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.line.socket.set_end(end_of(&timeout));
        let read = self.line.socket.read(self.buffers.input_append_buf());
        let size = match (read, self.line.unwanted) {
            (Ok(0), Some(kind)) => return Err(Error::Io(kind.into())),
            (Err(error), Some(kind)) if is_hung_up(&error) => return Err(Error::Io(kind.into())),
            (read, _) => read.map_err(|error| problem_of(error, timeout.reason))?,
        };
        self.line.sent = 0;
        self.buffers.input_appended(size);
        Ok(size > 0)
    }

    fn is_open(&mut self) -> bool {
        self.line.unwanted.is_none() && self.line.socket.is_quiet()
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").finish_non_exhaustive()
    }
}
