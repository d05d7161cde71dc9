//! A stream with what is half read and half written. Knows nothing of packets.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::Instant,
};

use super::buffers;

/// How long a connection that is closed may take for its last bytes in either direction.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Wire<S> {
    io: S,
    out: Vec<u8>,
    /// Bytes of `out` that are sent.
    sent: usize,
    unflushed: bool,
    /// When the peer last took something of `out`, or there was something for it to take.
    stalled: Option<Instant>,
    /// The start of a packet whose rest has not come, or packets that must wait.
    kept: Vec<u8>,
}

/// What happened on the stream.
#[derive(Debug)]
pub(super) enum Turn {
    Received(Vec<u8>),
    /// Everything in `out` is sent.
    Sent,
    Closed,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(io: S) -> Self {
        Self { io, out: Vec::new(), sent: 0, unflushed: false, stalled: None, kept: Vec::new() }
    }

    /// Where to write what is to be sent at the next turn.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        if self.out.capacity() == 0 {
            self.out = buffers::take();
        }
        &mut self.out
    }

    /// Bytes that wait to be sent.
    pub(super) fn unsent(&self) -> usize {
        self.out.len().saturating_sub(self.sent)
    }

    pub(super) fn idle(&self) -> bool {
        self.out.is_empty() && !self.unflushed
    }

    /// Since when the peer has taken nothing of what is to be sent; `None` if nothing is.
    pub(super) fn stalled_since(&mut self, now: Instant) -> Option<Instant> {
        if self.idle() { None } else { Some(*self.stalled.get_or_insert(now)) }
    }

    /// Everything received and not used: what was kept, then `chunk`.
    pub(super) fn join(&mut self, chunk: Vec<u8>) -> Vec<u8> {
        if self.kept.is_empty() {
            return chunk;
        }
        self.kept.extend_from_slice(&chunk);
        buffers::give(chunk);
        std::mem::take(&mut self.kept)
    }

    /// Keeps what of `bytes` is not used, in at most twice the memory that it needs.
    pub(super) fn keep(&mut self, bytes: Vec<u8>, used: usize) {
        if used == 0 && bytes.capacity() <= 2 * bytes.len() {
            self.kept = bytes;
            return;
        }
        self.kept = bytes.get(used..).unwrap_or_default().to_vec();
        buffers::give(bytes);
    }

    /// Sends what is to be sent and, if `read`, receives: whichever comes first. Pending for ever if there is neither.
    /// May be cancelled without losing anything.
    pub(super) async fn turn(&mut self, read: bool) -> io::Result<Turn> {
        std::future::poll_fn(|cx| self.poll_turn(read, cx)).await
    }

    fn poll_turn(&mut self, read: bool, cx: &mut Context<'_>) -> Poll<io::Result<Turn>> {
        if self.idle() {
            buffers::give(std::mem::take(&mut self.out));
        } else if self.poll_send(cx)?.is_ready() {
            return Poll::Ready(Ok(Turn::Sent));
        }
        // A peer that does not read may still write; who waits for it must not stop listening, or both wait for ever.
        if !read {
            return Poll::Pending;
        }
        let mut chunk = buffers::take();
        let received = pin!(self.io.read_buf(&mut chunk)).poll(cx);
        match received {
            Poll::Ready(Ok(1..)) => return Poll::Ready(Ok(Turn::Received(chunk))),
            Poll::Ready(Ok(0)) => return Poll::Ready(Ok(Turn::Closed)),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {}
        }
        buffers::give(chunk);
        Poll::Pending
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.io).poll_write(cx, rest)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => {
                    self.sent += count;
                    self.unflushed = true;
                }
                Poll::Pending => {
                    if self.sent > 0 {
                        self.stalled = Some(Instant::now());
                        self.out.drain(..self.sent);
                        self.sent = 0;
                    }
                    return Poll::Pending;
                }
            }
        }
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.unflushed = false;
        self.sent = 0;
        self.stalled = None;
        buffers::give(std::mem::take(&mut self.out));
        Poll::Ready(Ok(()))
    }

    /// Sends the last bytes and closes, if the peer lets it. What it still sends is read and thrown away until it closes too:
    /// a connection that is closed with bytes unread is reset, and what was said last is lost with it.
    pub(super) async fn close(&mut self) {
        let last = async {
            std::future::poll_fn(|cx| self.poll_send(cx)).await?;
            self.io.shutdown().await?;
            std::future::poll_fn(|cx| self.poll_discard(cx)).await
        };
        // The connection is over either way.
        let _closed = tokio::time::timeout(CLOSE_PATIENCE, last).await;
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut bytes = [0; 512];
            let mut chunk = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
