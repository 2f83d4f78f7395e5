//! A transport that hears a server out for so long and no longer.
//!
//! The Git library reads listings and negotiations line by line into memory, as many as the server sends. Here they are counted; a pack is not made of
//! lines and is counted by the [`Meter`](super::meter::Meter).

use std::any::Any;
use std::borrow::Cow;
use std::io::{self, BufRead, Read};

use gix::bstr::BStr;
use gix::protocol::transport::client::blocking_io::{
    ExtendedBufRead, HandleProgress, ReadlineBufRead, RequestWriter, SetServiceResponse, Transport,
};
use gix::protocol::transport::client::{Account, Error, MessageKind, TransportWithoutIO, WriteMode};
use gix::protocol::transport::packetline::PacketLineRef;
use gix::protocol::transport::{Protocol, Service};

/// Bytes of lines that one connection may say: some hundred thousand refs.
pub(super) const MOST_SAID: u64 = 16 << 20;

/// What the transport of a connection is.
pub(super) type AnyTransport = Box<dyn Transport + Send>;

/// The transport with its bound.
pub(super) struct Bounded {
    inner: AnyTransport,
    left: u64,
}

/// Puts the bound around the transport of a connection.
pub(super) fn bound(transport: &mut AnyTransport) {
    let inner = std::mem::replace(transport, Box::new(Nothing));
    *transport = Box::new(Bounded { inner, left: MOST_SAID });
}

impl TransportWithoutIO for Bounded {
    fn set_identity(&mut self, identity: Account) -> Result<(), Error> {
        self.inner.set_identity(identity)
    }

    fn to_url(&self) -> Cow<'_, BStr> {
        self.inner.to_url()
    }

    fn supported_protocol_versions(&self) -> &[Protocol] {
        self.inner.supported_protocol_versions()
    }

    fn connection_persists_across_multiple_requests(&self) -> bool {
        self.inner.connection_persists_across_multiple_requests()
    }

    fn configure(&mut self, config: &dyn Any) -> gix::Result<()> {
        self.inner.configure(config)
    }
}

impl Transport for Bounded {
    fn handshake<'a>(
        &mut self,
        service: Service,
        extra_parameters: &'a [(&'a str, Option<&'a str>)],
    ) -> Result<SetServiceResponse<'_>, Error> {
        let answer = self.inner.handshake(service, extra_parameters)?;
        let left = &mut self.left;
        let refs = answer.refs.map(|inner| Box::new(Lines { inner, left }) as Box<dyn ReadlineBufRead + '_>);
        Ok(SetServiceResponse { refs, ..answer })
    }

    fn request(
        &mut self,
        write_mode: WriteMode,
        on_into_read: MessageKind,
        trace: bool,
    ) -> Result<RequestWriter<'_>, Error> {
        let (writer, inner) = self.inner.request(write_mode, on_into_read, trace)?.into_parts();
        let reader = Box::new(Lines { inner, left: &mut self.left });
        Ok(RequestWriter::new_from_bufread(writer, reader, write_mode, on_into_read, trace))
    }
}

/// Counts lines, and passes the rest on.
struct Lines<'a, R> {
    inner: R,
    left: &'a mut u64,
}

impl<R> Lines<'_, R> {
    fn count(left: &mut u64, bytes: usize) -> io::Result<()> {
        *left = left.checked_sub(bytes as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, format!("it says more than {MOST_SAID} bytes"))
        })?;
        Ok(())
    }
}

impl<R: Read> Read for Lines<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }
}

impl<R: BufRead> BufRead for Lines<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
    }
}

impl<R: ReadlineBufRead> ReadlineBufRead for Lines<'_, R> {
    fn readline(&mut self) -> Option<io::Result<gix::Result<PacketLineRef<'_>>>> {
        let line = self.inner.readline();
        if let Some(Ok(Ok(line))) = &line
            && let Err(error) = Self::count(self.left, 4 + line.as_slice().map_or(0, <[u8]>::len))
        {
            return Some(Err(error));
        }
        line
    }

    fn readline_str(&mut self, line: &mut String) -> io::Result<usize> {
        let count = self.inner.readline_str(line)?;
        Self::count(self.left, 4 + count)?;
        Ok(count)
    }
}

impl<'a, R: ExtendedBufRead<'a>> ExtendedBufRead<'a> for Lines<'_, R> {
    fn set_progress_handler(&mut self, handle_progress: Option<HandleProgress<'a>>) {
        self.inner.set_progress_handler(handle_progress);
    }

    fn peek_data_line(&mut self) -> Option<io::Result<Result<&[u8], Error>>> {
        self.inner.peek_data_line()
    }

    fn reset(&mut self, version: Protocol) {
        self.inner.reset(version);
    }

    fn stopped_at(&self) -> Option<MessageKind> {
        self.inner.stopped_at()
    }
}

/// Stands in the place of a transport for a moment.
struct Nothing;

impl TransportWithoutIO for Nothing {
    fn to_url(&self) -> Cow<'_, BStr> {
        Cow::Borrowed("".into())
    }

    fn connection_persists_across_multiple_requests(&self) -> bool {
        false
    }

    fn configure(&mut self, _config: &dyn Any) -> gix::Result<()> {
        Ok(())
    }
}

impl Transport for Nothing {
    fn handshake<'a>(
        &mut self,
        _service: Service,
        _extra_parameters: &'a [(&'a str, Option<&'a str>)],
    ) -> Result<SetServiceResponse<'_>, Error> {
        Err(Error::from(io::Error::from(io::ErrorKind::NotConnected)))
    }

    fn request(
        &mut self,
        _write_mode: WriteMode,
        _on_into_read: MessageKind,
        _trace: bool,
    ) -> Result<RequestWriter<'_>, Error> {
        Err(Error::from(io::Error::from(io::ErrorKind::NotConnected)))
    }
}
