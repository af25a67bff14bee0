//! The heads of answers, of which no more is read than any server has to say: interim answers (RFC 9110, 15.2) may come
//! without end, for as long as an answer is waited for, and nobody has set data aside for them.

use std::io;

use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use ureq::{Error, Timeout};

use crate::provider::MAX_LIST;

/// Most bytes until an answer's head has ended, with what comes behind it in the same moment.
const MOST: usize = 64 * 1024;

/// Most bytes of a small request's answer, whose time is set for all of it together.
const MOST_IN_ALL: usize = MOST + MAX_LIST;

/// The last link in the chain of connectors.
#[derive(Debug)]
pub struct Heads;

impl<In: Transport> Connector<In> for Heads {
    type Out = Headed<In>;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Headed<In>>, Error> {
        Ok(chained.map(|inner| Headed { inner, read: 0 }))
    }
}

/// A connection whose answers begin with a head of some size.
#[derive(Debug)]
pub struct Headed<In> {
    inner: In,
    /// Bytes that have come since something was last sent.
    read: usize,
}

impl<In: Transport> Transport for Headed<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.read = 0;
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let most = match timeout.reason {
            Timeout::RecvResponse => MOST,
            // It is named as well where there is no time at all: that is a transfer.
            Timeout::Global if !timeout.after.is_not_happening() => MOST_IN_ALL,
            _ => usize::MAX,
        };
        let before = self.inner.buffers().input().len();
        let is_more = self.inner.await_input(timeout)?;
        let came = self.inner.buffers().input().len().saturating_sub(before);
        self.read = self.read.saturating_add(came);
        if self.read > most {
            return Err(Error::Io(io::Error::other("the head of its answer does not end")));
        }
        Ok(is_more)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}
