//! A connection's socket, which says what its peer does and ends when it is shed.
//!
//! It hands out one request at a time. What a peer sends ahead waits in the kernel, which tells the
//! peer to stop: read at once it would be parsed, into a hundred times its size, and kept for as long
//! as the answer before it takes, which may be a stream. And parsed behind the request that is being
//! answered it would change how that answer is framed.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::rt::net::TcpStream;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Connection, Phase};

/// Bytes that are read at once.
const READ_BYTES_MAX: usize = 2_048;

/// A socket whose connection is counted until it is dropped.
pub struct Guarded {
    stream: TcpStream,
    connection: Arc<Connection>,
    /// Read, and not handed out yet: at most [`READ_BYTES_MAX`].
    held: Bytes,
    /// What was handed out last may be a whole request, which has to be parsed first.
    gives_way: bool,
}

/// What there is to read.
enum Ahead {
    Nothing,
    Bytes,
    End,
}

impl Guarded {
    /// Of a connection that was admitted.
    pub fn new(stream: TcpStream, connection: Arc<Connection>) -> Guarded {
        Guarded { stream, connection, held: Bytes::new(), gives_way: false }
    }

    /// What is known of it.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Asked before the peer is waited for: whoever sheds it wakes it.
    fn goes_on(&self, context: &Context<'_>) -> io::Result<()> {
        self.connection.waker.register(context.waker());
        if self.connection.is_shed() {
            Err(io::ErrorKind::ConnectionAborted.into())
        } else {
            Ok(())
        }
    }

    /// What there is to read, without reading it; where there is nothing, it wakes when there is.
    fn looks_ahead(&self, context: &mut Context<'_>) -> io::Result<Ahead> {
        if !self.held.is_empty() {
            return Ok(Ahead::Bytes);
        }
        let mut byte = [0];
        match self.stream.poll_peek(context, &mut ReadBuf::new(&mut byte)) {
            Poll::Pending => Ok(Ahead::Nothing),
            Poll::Ready(Ok(0)) => Ok(Ahead::End),
            Poll::Ready(Ok(_)) => Ok(Ahead::Bytes),
            Poll::Ready(Err(error)) => Err(error),
        }
    }

    /// Hands out what may belong to one request.
    fn hand_out(&mut self, buffer: &mut ReadBuf<'_>) {
        let within = self.held.len().min(buffer.remaining());
        let end = end_of_lines(&self.held[..within]);
        self.gives_way = end.is_some();
        let count = end.unwrap_or(within);
        buffer.put_slice(&self.held[..count]);
        self.held.advance(count);
    }
}

/// Behind the first empty line: where a head ends, and a chunked body.
fn end_of_lines(bytes: &[u8]) -> Option<usize> {
    (0..bytes.len()).find_map(|at| match bytes[at..] {
        [b'\n', b'\n', ..] => Some(at + 2),
        [b'\n', b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.connection.registry.leave(&self.connection);
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.goes_on(context)?;
        if std::mem::take(&mut self.gives_way) {
            return match self.looks_ahead(context)? {
                Ahead::End => Poll::Ready(Ok(())),
                Ahead::Nothing => Poll::Pending,
                Ahead::Bytes => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
            };
        }
        match self.connection.doing().0 {
            Phase::Answering | Phase::Blocked => match self.looks_ahead(context)? {
                Ahead::End => return Poll::Ready(Ok(())),
                Ahead::Nothing => return Poll::Pending,
                // Nothing follows a stream.
                Ahead::Bytes if self.connection.is_released() => {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                }
                Ahead::Bytes => {
                    self.connection.has_sent_ahead();
                    return Poll::Pending;
                }
            },
            Phase::Idle | Phase::Head | Phase::Body => {}
        }
        if self.held.is_empty() {
            let mut bytes = [0; READ_BYTES_MAX];
            let mut read = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(context, &mut read) {
                Poll::Ready(Ok(())) if read.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => self.held = Bytes::copy_from_slice(read.filled()),
                other @ (Poll::Pending | Poll::Ready(Err(_))) => return other,
            }
        }
        self.hand_out(buffer);
        if self.connection.is_in(Phase::Idle) {
            self.connection.does(Phase::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.goes_on(context)?;
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if written.is_pending() && self.connection.is_in(Phase::Answering) {
            self.connection.does(Phase::Blocked);
        }
        written
    }

    /// Called when everything that there was has been taken.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.is_in(Phase::Blocked) {
            self.connection.does(Phase::Answering);
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::{
        super::{Connections, Room},
        *,
    };
    use crate::config;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    /// Both ends of a connection that was admitted.
    async fn connected() -> (tokio::net::TcpStream, Guarded) {
        let listener =
            tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (peer, accepted) =
            tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
        let room = Room::within(4_096, 16, 16);
        let connections = Connections::new(room, &config::Connections::default(), &[]);
        let connection = connections.admit(Some(IpAddr::V4(Ipv4Addr::LOCALHOST))).expect("room");
        (peer.expect("connected"), Guarded::new(accepted.expect("accepted").0, connection))
    }

    #[tokio::test]
    async fn what_is_sent_ahead_is_read_when_what_came_before_it_was_answered() {
        let (mut peer, mut guarded) = connected().await;
        let connection = Arc::clone(guarded.connection());
        peer.write_all(&REQUEST.repeat(1_000)).await.expect("sent");
        let mut bytes = vec![0; 131_072];
        for _ in 0..3 {
            let count = guarded.read(&mut bytes).await.expect("read");
            assert_eq!(&bytes[..count], REQUEST, "one request, however much is there");
            connection.begins(false);
            let ahead = at_once(guarded.read(&mut bytes)).await;
            assert!(ahead.is_none(), "nothing is read while it is answered");
            connection.is_answered();
        }
    }

    #[tokio::test]
    async fn a_peer_that_leaves_while_it_is_answered_is_noticed_and_nothing_follows_a_stream() {
        let (peer, mut guarded) = connected().await;
        guarded.connection().begins(false);
        drop(peer);
        assert_eq!(guarded.read(&mut [0; 64]).await.expect("the end"), 0);

        let (mut peer, mut guarded) = connected().await;
        guarded.connection().begins(false);
        guarded.connection().becomes_stream();
        peer.write_all(REQUEST).await.expect("sent");
        assert!(guarded.read(&mut [0; 64]).await.is_err());
    }

    /// What a reading comes to at once, after whatever is under way has arrived.
    async fn at_once<T>(reading: impl Future<Output = io::Result<T>>) -> Option<T> {
        let mut reading = std::pin::pin!(reading);
        for _ in 0..8 {
            tokio::task::yield_now().await;
            if let Poll::Ready(read) = futures_util::poll!(reading.as_mut()) {
                return read.ok();
            }
        }
        None
    }

    #[test]
    fn a_request_ends_behind_an_empty_line_however_its_lines_end() {
        for (bytes, end) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET", Some(27)),
            ("GET / HTTP/1.1\nHost: x\n\nGET", Some(24)),
            ("GET / HTTP/1.1\nHost: x\n\r\nGET", Some(25)),
            ("0\r\n\r\n", Some(5)),
            ("GET / HTTP/1.1\r\nHost: x\r\n\r", None),
            ("", None),
        ] {
            assert_eq!(end_of_lines(bytes.as_bytes()), end, "{bytes:?}");
        }
    }
}
