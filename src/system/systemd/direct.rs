//! systemd's own socket, spoken to without a bus: saves each message two trips through the bus daemon, and works where none runs.
//!
//! systemd signs what it sends there with its well-known name, which the D-Bus specification forbids (a sender is a unique name)
//! and `zbus` refuses. So what is read goes through [`Reader`], which makes a valid name of the same length of it.

use std::future::Future;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::pin::Pin;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use zbus::Message;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};

const SOCKET: &str = "/run/systemd/private";

/// How the field with systemd's name as the sender starts in a header: field 7, type `s`, 24 bytes, little-endian.
const SENDER: &[u8] = b"\x07\x01s\0\x18\0\0\0org.freedesktop.systemd1\0";
/// Where in it the name starts.
const SENDER_NAME: usize = 8;

/// The part of a header that is always there, with the lengths of the rest.
const FIXED: usize = 16;

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Connects to systemd itself; only root may.
pub(super) async fn connect() -> zbus::Result<zbus::Connection> {
    let stream = UnixStream::connect(SOCKET).await.map_err(zbus::Error::from)?;
    zbus::connection::Builder::socket(Direct(stream)).p2p().build().await
}

struct Direct(UnixStream);

impl Socket for Direct {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let (read, write) = self.0.into_split();
        Split::new(Reader { stream: read, correct: Correction::default() }, Writer { stream: write })
    }
}

#[derive(Debug)]
struct Reader {
    stream: OwnedReadHalf,
    correct: Correction,
}

impl ReadHalf for Reader {
    fn recvmsg<'a, 'b, 'c>(
        &'a mut self,
        buffer: &'b mut [u8],
    ) -> Answer<'c, io::Result<(usize, Vec<OwnedFd>)>>
    where
        'a: 'c,
        'b: 'c,
    {
        Box::pin(async move {
            loop {
                let given = self.correct.give(buffer);
                if given > 0 || buffer.is_empty() {
                    return Ok((given, Vec::new()));
                }
                self.stream.readable().await?;
                let mut chunk = vec![0; CHUNK];
                match self.stream.try_read(&mut chunk) {
                    Ok(0) => return Ok((0, Vec::new())),
                    Ok(length) => self.correct.take(&chunk[..length]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        })
    }
}

/// Bytes on their way: lines of the handshake first, then messages, whose headers are corrected before they are given on.
#[derive(Debug, Default)]
struct Correction {
    bytes: Vec<u8>,
    /// What is given on already.
    from: usize,
    /// How much of the line or message at `from` is still to be given on; it may not have arrived whole.
    left: usize,
}

impl Correction {
    fn take(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.from);
        self.from = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Gives on what can be; 0 when more has to arrive first.
    fn give(&mut self, buffer: &mut [u8]) -> usize {
        if self.left == 0 {
            self.left = self.next();
        }
        let there = &self.bytes[self.from..];
        let length = there.len().min(self.left).min(buffer.len());
        buffer[..length].copy_from_slice(&there[..length]);
        self.from += length;
        self.left -= length;
        length
    }

    /// The length of the next line or message, whose header was corrected; 0 when too little of it is there.
    fn next(&mut self) -> usize {
        let there = &mut self.bytes[self.from..];
        // A little-endian message starts with `l`, which no line of the server in a handshake does.
        if there.first() != Some(&b'l') {
            return there.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        }
        let number = |at: usize| -> Option<usize> {
            let bytes = there.get(at..at + 4)?.try_into().ok()?;
            usize::try_from(u32::from_le_bytes(bytes)).ok()
        };
        let (Some(body), Some(fields)) = (number(4), number(FIXED - 4)) else { return 0 };
        let header = FIXED + fields.next_multiple_of(8);
        let Some(head) = there.get_mut(..header) else { return 0 };
        if let Some(at) = head.windows(SENDER.len()).position(|window| window == SENDER) {
            head[at + SENDER_NAME] = b':';
        }
        header + body
    }
}

#[derive(Debug)]
struct Writer {
    stream: OwnedWriteHalf,
}

impl Writer {
    async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.stream.writable().await?;
            match self.stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }
}

impl WriteHalf for Writer {
    /// All messages in one write.
    fn send_messages<'a, 'b, 'c>(&'a mut self, messages: &'b [Message]) -> Answer<'c, zbus::Result<()>>
    where
        'a: 'c,
        'b: 'c,
    {
        Box::pin(async move {
            let bytes: Vec<u8> = messages.iter().flat_map(|message| message.data().iter().copied()).collect();
            let mut sent = 0;
            while sent < bytes.len() {
                sent += self.write(&bytes[sent..]).await?;
            }
            Ok(())
        })
    }

    fn sendmsg<'a, 'b, 'c, 'd, 'e>(
        &'a mut self,
        buffer: &'b [u8],
        _descriptors: &'c [BorrowedFd<'d>],
    ) -> Answer<'e, io::Result<usize>>
    where
        'a: 'e,
        'b: 'e,
        'c: 'e,
        'd: 'e,
    {
        Box::pin(self.write(buffer))
    }

    fn close<'a, 'b>(&'a mut self) -> Answer<'b, io::Result<()>>
    where
        'a: 'b,
    {
        // The descriptor is closed when the halves are dropped.
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with these header fields and body, and the same with what is in place of the name's first letter.
    fn message(body: &[u8], first: u8) -> Vec<u8> {
        let mut fields = SENDER.to_vec();
        fields[SENDER_NAME] = first;
        let mut bytes = b"l\x02\x01\x01".to_vec();
        bytes.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        bytes.extend(7u32.to_le_bytes());
        bytes.extend(u32::try_from(fields.len()).unwrap().to_le_bytes());
        bytes.extend(&fields);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn only_the_sender_is_corrected_however_the_bytes_arrive() {
        let body = [SENDER, b"l body that looks like a header"].concat();
        let send =
            [&b"OK 1234\r\n"[..], &message(&body, b'o'), &message(b"", b'o'), &message(&body, b'o')].concat();
        let expected =
            [&b"OK 1234\r\n"[..], &message(&body, b':'), &message(b"", b':'), &message(&body, b':')].concat();
        for (arriving, asked) in
            [(1, 1), (3, 16), (16, 7), (64, 1000), (send.len(), send.len()), (send.len(), 5)]
        {
            let mut correction = Correction::default();
            let mut got = Vec::new();
            for chunk in send.chunks(arriving) {
                correction.take(chunk);
                let mut buffer = vec![0; asked];
                loop {
                    let length = correction.give(&mut buffer);
                    if length == 0 {
                        break;
                    }
                    got.extend_from_slice(&buffer[..length]);
                }
            }
            assert_eq!(got, expected, "arriving by {arriving}, asked for by {asked}");
        }
    }
}
