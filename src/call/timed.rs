//! A socket that does not outlast the call it is used for.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A socket whose reads and writes fail from `end` on. The system's own time limit starts again with each read or
/// write.
pub struct Timed {
    socket: TcpStream,
    end: Instant,
}

impl Timed {
    pub fn connect(address: SocketAddr, limit: Duration, end: Instant) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&address, limit)?;
        socket.set_nodelay(true)?;
        Ok(Timed { socket, end })
    }

    pub fn set_end(&mut self, end: Instant) {
        self.end = end;
    }

    /// The address of this end.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// True if the peer has neither closed the connection nor sent anything that has not been read.
    pub fn is_quiet(&self) -> bool {
        let peek = |socket: &TcpStream| {
            socket.set_nonblocking(true)?;
            let found = socket.peek(&mut [0]);
            socket.set_nonblocking(false)?;
            found
        };
        peek(&self.socket).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.left()?))?;
        self.socket.read(bytes)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
