//! The viewers: raw sockets on one thread, which count what comes and when.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    net::TcpSocket,
    sync::Notify,
};

use super::Failed;

/// How an event ends on the wire: JSON, and an empty line. Comments and hints end otherwise.
const END: &[u8] = b"}\n\n";
const READ_BYTES: usize = 64 * 1_024;
/// What a viewer that never reads lets the kernel keep for it.
const ASLEEP_BUFFER_BYTES: u32 = 4_096;
/// Connections that are opened at once.
const OPENED_AT_ONCE: usize = 200;
/// Nothing takes longer, or the run has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What all viewers share.
pub struct Crowd {
    buffer: RefCell<Vec<u8>>,
    /// Viewers whose answer has begun.
    begun: Cell<usize>,
    /// Events received.
    pub received: Cell<u64>,
    /// Streams that have ended.
    pub ended: Cell<usize>,
    awaited: Cell<u64>,
    all_are_there: Notify,
    sent_at: Cell<Instant>,
    /// From sending to receipt, in microseconds.
    pub took_us: RefCell<Vec<u32>>,
    /// The last `data:` that came.
    pub data: RefCell<Vec<u8>>,
}

impl Crowd {
    /// Nobody yet.
    pub fn new() -> Rc<Crowd> {
        Rc::new(Crowd {
            buffer: RefCell::new(vec![0; READ_BYTES]),
            begun: Cell::new(0),
            received: Cell::new(0),
            ended: Cell::new(0),
            awaited: Cell::new(u64::MAX),
            all_are_there: Notify::new(),
            sent_at: Cell::new(Instant::now()),
            took_us: RefCell::default(),
            data: RefCell::default(),
        })
    }

    /// Connects so many viewers, to one path after the other, and waits until each has its answer.
    pub async fn gather(
        self: &Rc<Self>,
        address: SocketAddr,
        paths: &[String],
        viewers: usize,
        never_read: bool,
    ) -> Result<(), Failed> {
        for first in (0..viewers).step_by(OPENED_AT_ONCE) {
            let last = (first + OPENED_AT_ONCE).min(viewers);
            for number in first..last {
                let socket = TcpSocket::new_v4()?;
                if never_read {
                    socket.set_recv_buffer_size(ASLEEP_BUFFER_BYTES)?;
                }
                let mut stream = socket.connect(address).await?;
                let path = &paths[number % paths.len()];
                let ask = format!(
                    "GET {path} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n"
                );
                stream.write_all(ask.as_bytes()).await?;
                tokio::task::spawn_local(Rc::clone(self).watch(stream, never_read));
            }
            let here = async {
                while self.begun.get() < last {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(PATIENCE, here).await.map_err(|_| "a viewer has no answer")?;
        }
        Ok(())
    }

    async fn watch(self: Rc<Self>, mut stream: tokio::net::TcpStream, never_reads: bool) {
        let mut tail = 0;
        let mut has_begun = false;
        loop {
            // One buffer for all; a short read tells that there is no more, without asking again.
            let read = std::future::poll_fn(|context| {
                let mut buffer = self.buffer.borrow_mut();
                let mut buffer = ReadBuf::new(&mut buffer);
                ready!(Pin::new(&mut stream).poll_read(context, &mut buffer))?;
                if !std::mem::replace(&mut has_begun, true) {
                    self.begun.set(self.begun.get() + 1);
                }
                self.take(buffer.filled(), &mut tail);
                Poll::Ready(io::Result::Ok(buffer.filled().len()))
            });
            if !matches!(read.await, Ok(1..)) {
                break;
            }
            if never_reads {
                // Until it is cut: reading nothing, it only hears of that.
                let _ = stream.ready(tokio::io::Interest::ERROR).await;
                break;
            }
        }
        self.ended.set(self.ended.get() + 1);
    }

    /// Counts the events that end in what was read; `matched` is how much of an end was read last.
    fn take(&self, read: &[u8], matched: &mut usize) {
        let mut events = 0;
        for byte in read {
            *matched = match *matched {
                matched if *byte == END[matched] => matched + 1,
                _ => usize::from(*byte == END[0]),
            };
            if *matched == END.len() {
                *matched = 0;
                events += 1;
            }
        }
        if events == 0 {
            return;
        }
        let took_us = u32::try_from(self.sent_at.get().elapsed().as_micros()).unwrap_or(u32::MAX);
        self.took_us.borrow_mut().extend(std::iter::repeat_n(took_us, events));
        let received = self.received.get() + events as u64;
        self.received.set(received);
        if received >= self.awaited.get() {
            self.awaited.set(u64::MAX);
            self.all_are_there.notify_one();
            self.keep_data(read);
        }
    }

    fn keep_data(&self, read: &[u8]) {
        let text = String::from_utf8_lossy(read);
        if let Some(data) = text.lines().find_map(|line| line.strip_prefix("data: ")) {
            *self.data.borrow_mut() = data.as_bytes().to_vec();
        }
    }

    /// Forgets what came so far, such as snapshots.
    pub fn begin(&self) {
        self.received.set(0);
        self.took_us.borrow_mut().clear();
    }

    /// From now on the next events are timed, until there are so many in all.
    pub fn expect(&self, received: u64) {
        self.sent_at.set(Instant::now());
        self.awaited.set(received);
    }

    /// Until as many have come as are expected.
    pub async fn all_are_there(&self) -> Result<(), Failed> {
        let waiting = tokio::time::timeout(PATIENCE, self.all_are_there.notified());
        let (received, ended) = (&self.received, &self.ended);
        waiting.await.map_err(|_| {
            format!("events are missing: {} came, {} streams ended", received.get(), ended.get())
                .into()
        })
    }
}
