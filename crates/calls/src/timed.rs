//! A socket with a deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A socket whose reads and writes fail from `end` on. The system's own time limit restarts with each read or write.
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

    /// The local address.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Writes as much as the peer accepts. While it accepts nothing, this checks every `look` whether the peer has
    /// refused the rest, and if so fails as if the peer had closed the connection.
    pub fn write_within(&mut self, bytes: &[u8], look: Duration) -> io::Result<usize> {
        loop {
            let left = self.left()?;
            self.socket.set_write_timeout(Some(left.min(look)))?;
            match self.socket.write(bytes) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if self.is_refused() {
                        return Err(ErrorKind::ConnectionAborted.into());
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                written => return written,
            }
        }
    }

    /// True if the peer has sent, unencrypted, the beginning of an HTTP response that is not a success. A success may
    /// arrive while the peer still reads the request.
    pub fn is_refused(&self) -> bool {
        let mut start = [0; 10];
        let size = self.peek(&mut start).unwrap_or(0);
        size == start.len() && start.starts_with(b"HTTP/1.") && (b'3'..=b'5').contains(&start[9])
    }

    /// True if the peer has neither closed the connection nor sent anything that was not read.
    pub fn is_quiet(&self) -> bool {
        self.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Reads what has arrived without waiting or consuming it.
    fn peek(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.socket.set_nonblocking(true)?;
        let found = self.socket.peek(bytes);
        self.socket.set_nonblocking(false)?;
        found
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
