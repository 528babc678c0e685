//! Plain and encrypted connections.

use crate::timed::Timed;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// A connection to a mail server.
pub enum Stream {
    Plain(Timed),
    Encrypted(Box<StreamOwned<ClientConnection, Timed>>),
}

impl Stream {
    /// Starts encryption. The peer has to prove that it is `name`.
    pub fn encrypted(
        mut socket: Timed,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let mut connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(Stream::Encrypted(Box::new(StreamOwned::new(connection, socket))))
    }

    pub fn set_end(&mut self, end: Instant) {
        self.socket().set_end(end);
    }

    /// The local address.
    pub fn local_address(&mut self) -> io::Result<SocketAddr> {
        self.socket().local_address()
    }

    /// See [`Timed::is_quiet`].
    pub fn is_quiet(&self) -> bool {
        match self {
            Stream::Plain(socket) => socket.is_quiet(),
            Stream::Encrypted(stream) => stream.sock.is_quiet(),
        }
    }

    fn socket(&mut self) -> &mut Timed {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Encrypted(stream) => &mut stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(bytes),
            Stream::Encrypted(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.write(bytes),
            Stream::Encrypted(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.flush(),
            Stream::Encrypted(stream) => stream.flush(),
        }
    }
}
