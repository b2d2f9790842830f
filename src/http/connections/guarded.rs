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
    task::{Context, Poll, ready},
};

use actix_web::rt::net::TcpStream;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Connection, Phase, framing::Framing};

/// Bytes that are read at once.
const READ_BYTES_MAX: usize = 2_048;
/// How often is read in one turn for the sake of a peer that sends empty lines and no request.
const READS_AT_ONCE_MAX: usize = 16;

/// A socket whose connection is counted until it is dropped.
pub struct Guarded {
    stream: TcpStream,
    connection: Arc<Connection>,
    /// Read, and not handed out yet: at most [`READ_BYTES_MAX`].
    held: Bytes,
    /// Where in a request that stands.
    framing: Framing,
    /// What was handed out last ends a head or a body, which has to be parsed first.
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
        let (held, framing) = (Bytes::new(), Framing::Before);
        Guarded { stream, connection, held, framing, gives_way: false }
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

    /// Reads what there is until something of it belongs to a request. `Ready(Ok(true))` at the end.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        for _ in 0..READS_AT_ONCE_MAX {
            if self.held.is_empty() {
                let mut bytes = [0; READ_BYTES_MAX];
                let mut read = ReadBuf::new(&mut bytes);
                ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
                if read.filled().is_empty() {
                    return Poll::Ready(Ok(true));
                }
                self.held = Bytes::copy_from_slice(read.filled());
            }
            let skipped = self.framing.skipped(&self.held);
            self.held.advance(skipped);
            if !self.held.is_empty() {
                return Poll::Ready(Ok(false));
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Hands out what belongs to one head or body, and no more.
    fn hand_out(&mut self, buffer: &mut ReadBuf<'_>) {
        let within = self.held.len().min(buffer.remaining());
        let was_body = self.framing.is_body();
        let (count, ends) = self.framing.take(&self.held[..within]);
        self.gives_way = ends;
        buffer.put_slice(&self.held[..count]);
        self.held.advance(count);
        // Whether or not anybody reads the body.
        if ends && was_body && self.connection.is_in(Phase::Body) {
            self.connection.has_sent_all();
        }
    }
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
            // Also where the request was answered before its body came, which is no head of another.
            Phase::Idle | Phase::Head | Phase::Body => {
                if self.framing == Framing::Before {
                    self.framing = Framing::of_body(self.connection.take_body());
                }
            }
        }
        if ready!(self.poll_fill(context))? {
            return Poll::Ready(Ok(()));
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
        super::{Body, Connections, Room},
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
            connection.begins(Body::None);
            let ahead = at_once(guarded.read(&mut bytes)).await;
            assert!(ahead.is_none(), "nothing is read while it is answered");
            connection.is_answered();
        }
    }

    #[tokio::test]
    async fn a_peer_that_leaves_while_it_is_answered_is_noticed_and_nothing_follows_a_stream() {
        let (peer, mut guarded) = connected().await;
        guarded.connection().begins(Body::None);
        drop(peer);
        assert_eq!(guarded.read(&mut [0; 64]).await.expect("the end"), 0);

        let (mut peer, mut guarded) = connected().await;
        guarded.connection().begins(Body::None);
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

    #[tokio::test]
    async fn an_empty_line_that_is_cut_in_two_ends_a_request_as_well() {
        let (mut peer, mut guarded) = connected().await;
        let request = |bytes: usize| {
            let padding = "x".repeat(bytes - REQUEST.len() - "P: \r\n".len());
            format!("GET / HTTP/1.1\r\nHost: x\r\nP: {padding}\r\n\r\n")
        };
        let first = request(READ_BYTES_MAX + 2);
        let sent = first.clone() + &request(READ_BYTES_MAX).repeat(20);
        peer.write_all(sent.as_bytes()).await.expect("sent");
        let mut read = Vec::new();
        let mut bytes = [0; 4_096];
        while read.len() < first.len() {
            let count = guarded.read(&mut bytes).await.expect("read");
            read.extend_from_slice(&bytes[..count]);
        }
        assert_eq!(read, first.as_bytes(), "and nothing of the next one");
    }

    #[tokio::test]
    async fn nothing_behind_a_body_is_read_with_it_whether_or_not_anybody_reads_the_body() {
        for (body, sent) in [(Body::Length(2), "{}"), (Body::Chunked, "2\r\n{}\r\n0\r\n\r\n")] {
            let (mut peer, mut guarded) = connected().await;
            let connection = Arc::clone(guarded.connection());
            peer.write_all(&[REQUEST, sent.as_bytes(), REQUEST].concat()).await.expect("sent");
            let mut bytes = vec![0; 131_072];
            let count = guarded.read(&mut bytes).await.expect("read");
            assert_eq!(&bytes[..count], REQUEST);
            connection.begins(body);
            let count = guarded.read(&mut bytes).await.expect("read");
            assert_eq!(&bytes[..count], sent.as_bytes());
            assert!(connection.is_in(Phase::Answering), "it is all there");
            assert!(at_once(guarded.read(&mut bytes)).await.is_none(), "it is answered");
            connection.is_answered();
            let count = guarded.read(&mut bytes).await.expect("read");
            assert_eq!(&bytes[..count], REQUEST);
        }
    }

    #[tokio::test]
    async fn what_is_left_of_a_body_that_came_too_slowly_is_no_request() {
        let (mut peer, mut guarded) = connected().await;
        let connection = Arc::clone(guarded.connection());
        peer.write_all(REQUEST).await.expect("sent");
        let mut bytes = vec![0; 4_096];
        let count = guarded.read(&mut bytes).await.expect("read");
        assert_eq!(&bytes[..count], REQUEST);
        connection.begins(Body::Length(4));
        peer.write_all(b"\n\n").await.expect("sent");
        assert_eq!(guarded.read(&mut bytes).await.expect("read"), 2);
        connection.has_sent_all();
        connection.is_answered();
        peer.write_all(&[b"\n\n", REQUEST].concat()).await.expect("sent");
        assert_eq!(guarded.read(&mut bytes).await.expect("read"), 2, "the rest of the body");
        let count = guarded.read(&mut bytes).await.expect("read");
        assert_eq!(&bytes[..count], REQUEST);
    }

    #[tokio::test]
    async fn a_body_that_comes_after_the_answer_is_no_request() {
        let (mut peer, mut guarded) = connected().await;
        let connection = Arc::clone(guarded.connection());
        let body = b"5\r\n\n\n\n\n\n\r\n0\r\n\r\n";
        peer.write_all(&[REQUEST, body, REQUEST].concat()).await.expect("sent");
        let mut bytes = vec![0; 4_096];
        let count = guarded.read(&mut bytes).await.expect("read");
        assert_eq!(&bytes[..count], REQUEST);
        connection.begins(Body::Chunked);
        // Nobody reads it.
        connection.is_answered();
        let count = guarded.read(&mut bytes).await.expect("read");
        assert_eq!(&bytes[..count], body, "byte by byte as it was sent");
        let count = guarded.read(&mut bytes).await.expect("read");
        assert_eq!(&bytes[..count], REQUEST);
    }

    #[tokio::test]
    async fn empty_lines_are_not_handed_out_and_cost_few_turns() {
        let (mut peer, mut guarded) = connected().await;
        let lines = vec![b'\n'; 128 << 10];
        let sending = tokio::spawn(async move {
            peer.write_all(&lines).await.expect("sent");
            peer.write_all(REQUEST).await.expect("sent");
            peer
        });
        let (mut bytes, mut turns) = ([0; 4_096], 0);
        let count = std::future::poll_fn(|context| {
            turns += 1;
            let mut read = ReadBuf::new(&mut bytes);
            let polled = Pin::new(&mut guarded).poll_read(context, &mut read);
            polled.map_ok(|()| read.filled().len())
        });
        let count = count.await.expect("read");
        assert_eq!(&bytes[..count], REQUEST);
        assert!(turns < 200, "{turns} turns");
        sending.await.expect("sent");
    }
}
