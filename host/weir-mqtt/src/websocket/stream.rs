//! A WebSocket as a stream of bytes.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use smallvec::SmallVec;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{CloseCode, Control, Data, OpCode},
};
use weir_broker::Metrics;

use super::incoming::{End, Incoming};

/// Bytes of a data frame that is sent. Every frame but the last of a long write has this many.
const FRAME: usize = 1024 * 1024;

/// Longest header that a server sends.
const HEADER: usize = 10;

/// How long a client that broke a rule may take to read why.
const PARTING: Duration = Duration::from_secs(1);

/// Reads what the client's binary frames hold, and writes binary frames. Answers pings and closes in between, whenever
/// it is polled. `shutdown` sends a close frame and waits for the client's; how long is the caller's to say.
///
/// A write that is begun must be continued: its frame's length was said.
#[derive(Debug)]
pub(crate) struct WebSocket<S> {
    io: S,
    incoming: Incoming,
    /// What came with the request, behind its head. Freed as soon as it was read.
    early: Vec<u8>,
    /// A header or control frames that go before anything else.
    pending: SmallVec<[u8; HEADER]>,
    /// Bytes of `pending` that are sent.
    sent: usize,
    /// Bytes that the data frame in the writing still lacks.
    left: usize,
    /// Control frames were written and not flushed.
    unflushed: bool,
    close_sent: bool,
    /// Runs while a client that broke a rule may read why.
    parting: Option<Pin<Box<Sleep>>>,
    metrics: Metrics,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// `early` is what was read of the stream already; a message may have `limit` bytes.
    pub(crate) fn new(io: S, early: &[u8], limit: u64, metrics: Metrics) -> Self {
        Self {
            io,
            incoming: Incoming::new(limit),
            early: early.to_vec(),
            pending: SmallVec::new(),
            sent: 0,
            left: 0,
            unflushed: false,
            close_sent: false,
            parting: None,
            metrics,
        }
    }

    /// Says a header, and what of its payload goes with it.
    fn say(&mut self, opcode: OpCode, length: usize, payload: &[u8]) {
        let header = FrameHeader { opcode, ..FrameHeader::default() };
        let mut bytes = [0; HEADER];
        let mut room = bytes.as_mut_slice();
        // It fits, so that nothing can go wrong.
        let _written = header.format(length as u64, &mut room);
        let used = HEADER - room.len();
        self.pending.extend_from_slice(bytes.get(..used).unwrap_or_default());
        self.pending.extend_from_slice(payload);
    }

    fn say_close(&mut self, code: Option<u16>) {
        let code = code.map(u16::to_be_bytes);
        let payload = code.as_ref().map(<[u8; 2]>::as_slice).unwrap_or_default();
        self.say(OpCode::Control(Control::Close), payload.len(), payload);
        self.close_sent = true;
    }

    /// Sends control frames that wait, where no data frame is in the way.
    fn poll_control(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.left > 0 {
            return Poll::Ready(Ok(()));
        }
        // At most one waits, so a peer that pings and does not read costs no memory.
        if self.pending.is_empty()
            && !self.close_sent
            && let Some(ping) = self.incoming.ping()
        {
            self.say(OpCode::Control(Control::Pong), ping.len(), &ping);
        }
        ready!(self.poll_pending(cx))?;
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.pending.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, rest))?;
            self.wrote(count)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Counts what the stream below took, and says how much of it was not `pending`.
    fn wrote(&mut self, count: usize) -> io::Result<usize> {
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let waiting = self.pending.len() - self.sent;
        if count < waiting {
            self.sent += count;
            return Ok(0);
        }
        self.unflushed |= waiting > 0;
        self.pending = SmallVec::new();
        self.sent = 0;
        Ok(count - waiting)
    }

    /// What a reader is told at the end, when the client was told too.
    fn poll_end(&mut self, end: End, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let code = match end {
            End::Closed(code) => code,
            End::Violated(violation) => Some(violation.close_code()),
        };
        // In the middle of a data frame there is no place for it.
        if self.left == 0 {
            if !self.close_sent {
                self.say_close(code);
            }
            ready!(self.poll_control(cx))?;
        }
        let End::Violated(violation) = end else { return Poll::Ready(Ok(())) };
        if self.left == 0 && self.poll_parting(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)))
    }

    /// Lets the client read why: closing with bytes unread would reset the connection under it.
    fn poll_parting(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.parting.get_or_insert_with(|| Box::pin(sleep(PARTING)));
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !matches!(Pin::new(&mut self.io).poll_shutdown(cx), Poll::Ready(Ok(()))) {
            return Poll::Pending;
        }
        self.poll_discard(cx, false)
    }

    /// Reads and throws away, up to the end of the stream or the client's close frame.
    fn poll_discard(&mut self, cx: &mut Context<'_>, to_close_frame: bool) -> Poll<()> {
        self.early = Vec::new();
        loop {
            if to_close_frame && self.incoming.end().is_some() {
                return Poll::Ready(());
            }
            let mut bytes = [0; 512];
            let mut chunk = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut chunk)) {
                Ok(()) if !chunk.filled().is_empty() => {
                    self.incoming.receive(chunk.filled_mut());
                }
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while buf.remaining() > 0 {
            // A pong that cannot go now must not keep the reader from reading.
            if let Poll::Ready(Err(error)) = this.poll_control(cx) {
                return Poll::Ready(Err(error));
            }
            if let Some(end) = this.incoming.end() {
                return this.poll_end(end, cx);
            }
            let before = buf.filled().len();
            if this.early.is_empty() {
                ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
                if buf.filled().len() == before {
                    return Poll::Ready(Ok(()));
                }
            } else {
                let mut early = std::mem::take(&mut this.early);
                let rest = early.split_off(early.len().min(buf.remaining()));
                buf.put_slice(&early);
                this.early = rest;
            }
            let count = this.incoming.receive(buf.filled_mut().get_mut(before..).unwrap_or_default());
            buf.set_filled(before + count);
            if let Some(End::Violated(violation)) = this.incoming.end() {
                this.metrics.refused_for("websocket", violation.reason());
            }
            if count > 0 {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if this.left == 0 {
            if this.close_sent {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            ready!(this.poll_control(cx))?;
            this.left = buf.len().min(FRAME);
            this.say(OpCode::Data(Data::Binary), this.left, &[]);
        }
        let payload = buf.get(..this.left.min(buf.len())).unwrap_or(buf);
        loop {
            let written = match this.pending.get(this.sent..).filter(|header| !header.is_empty()) {
                Some(header) => {
                    let parts = [IoSlice::new(header), IoSlice::new(payload)];
                    Pin::new(&mut this.io).poll_write_vectored(cx, &parts)
                }
                None => Pin::new(&mut this.io).poll_write(cx, payload),
            };
            let count = this.wrote(ready!(written)?)?;
            if count > 0 {
                this.left -= count;
                return Poll::Ready(Ok(count));
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_control(cx))?;
        ready!(Pin::new(&mut this.io).poll_flush(cx))?;
        this.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.left == 0 {
            if !this.close_sent {
                this.say_close(Some(CloseCode::Normal.into()));
            }
            ready!(this.poll_control(cx))?;
            ready!(this.poll_discard(cx, true));
        }
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}
