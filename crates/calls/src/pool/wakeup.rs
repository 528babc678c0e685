//! Wakes the main thread, which waits for its latch, when a call has ended.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

/// A socket pair, which is readable from the first [`Wakeup::signal`] to the next [`Wakeup::clear`].
pub struct Wakeup {
    reader: UnixStream,
    writer: UnixStream,
}

impl Wakeup {
    pub fn new() -> std::io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        Ok(Wakeup { reader, writer })
    }

    pub fn signal(&self) {
        // A full socket is readable already.
        let _ = (&self.writer).write(&[1]);
    }

    pub fn clear(&self) {
        let mut buffer = [0; 256];
        while matches!((&self.reader).read(&mut buffer), Ok(n) if n > 0) {}
    }

    pub fn descriptor(&self) -> RawFd {
        self.reader.as_raw_fd()
    }
}
