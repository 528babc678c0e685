//! Skips interim responses (100, 103 …), since `ureq` fails at one that was not requested and has headers.

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// The last connector of a chain, above TLS.
#[derive(Debug)]
pub struct SkippingInterim;

impl<In: Transport> Connector<In> for SkippingInterim {
    type Out = Skipping<In>;

    fn connect(&self, _: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|inner| Skipping { inner, at_start: true }))
    }
}

#[derive(Debug)]
pub struct Skipping<T> {
    inner: T,
    /// The next bytes are the beginning of a response.
    at_start: bool,
}

impl<T: Transport> Skipping<T> {
    /// Consumes the interim responses that have arrived completely.
    fn skip(&mut self) {
        while self.at_start {
            let input = self.inner.buffers().input();
            if input.len() < START {
                return;
            }
            self.at_start = is_interim(input);
            match input.windows(4).position(|end| end == b"\r\n\r\n") {
                Some(end) if self.at_start => self.inner.buffers().input_consume(end + 4),
                _ => return,
            }
        }
    }
}

/// The number of bytes at the start of a response that contain its status.
const START: usize = b"HTTP/1.1 100".len();

/// True for a status of 1xx except 101, which switches the protocol.
fn is_interim(input: &[u8]) -> bool {
    input.starts_with(b"HTTP/1.") && input[9] == b'1' && &input[9..START] != b"101"
}

impl<T: Transport> Transport for Skipping<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.at_start = true;
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let progress = self.inner.await_input(timeout)?;
        self.skip();
        Ok(progress)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}
