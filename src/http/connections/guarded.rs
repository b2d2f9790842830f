//! A connection's socket, which says what its peer does and ends when it is shed.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Connection, Phase};

/// A socket whose connection is counted until it is dropped.
pub struct Guarded {
    stream: TcpStream,
    connection: Arc<Connection>,
}

impl Guarded {
    /// Of a connection that was admitted.
    pub fn new(stream: TcpStream, connection: Arc<Connection>) -> Guarded {
        Guarded { stream, connection }
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
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before && self.connection.is_in(Phase::Idle) {
            self.connection.does(Phase::Head);
        }
        read
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
