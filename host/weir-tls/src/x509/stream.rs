//! A stream encrypted by rustls that holds no buffer while nothing is on its way.
//!
//! rustls' own stream keeps 4 KiB for what may come next, which would be a third of what an idle connection costs. So its
//! unbuffered side is used: bytes are read into room that all connections of a thread share, and what is left of a record
//! that is not complete, of plaintext nobody read yet and of ciphertext the peer did not take yet is kept until it is gone.

use std::{
    cell::RefCell,
    error::Error,
    fmt,
    io::{self, IoSlice},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::{
    CommonState, ServerConfig,
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Bytes read from the socket at once: a record of full size, with its header.
const READ_SIZE: usize = 16 * 1024 + 512;

/// Plaintext that becomes one record at most (RFC 8446 §5.1).
const MAX_FRAGMENT: usize = 16 * 1024;

/// Ciphertext that waits for its rest. Beyond a record only messages of a handshake can, and no client's are as long.
const MAX_INCOMING: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SIZE].into_boxed_slice());
}

pub(crate) struct X509Stream {
    session: UnbufferedServerConnection,
    tcp: TcpStream,
    /// Ciphertext that came, and is not a whole record yet.
    incoming: Vec<u8>,
    plaintext: Pending,
    outgoing: Pending,
    /// The peer said that nothing follows.
    peer_closed: bool,
    closing: bool,
}

/// Bytes that wait for whoever takes them. Holds no memory when nothing waits.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    taken: usize,
}

impl X509Stream {
    /// `head` is what was read from `tcp` already.
    pub(crate) fn new(config: Arc<ServerConfig>, head: Vec<u8>, tcp: TcpStream) -> Result<Self, rustls::Error> {
        Ok(Self {
            session: UnbufferedServerConnection::new(config)?,
            tcp,
            incoming: head,
            plaintext: Pending::default(),
            outgoing: Pending::default(),
            peer_closed: false,
            closing: false,
        })
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    pub(crate) fn into_tcp(self) -> TcpStream {
        self.tcp
    }

    pub(crate) fn session(&self) -> &CommonState {
        &self.session
    }

    /// Goes on with the handshake until it is over. An error of kind `InvalidData` is one of TLS, and the peer was sent
    /// the alert that says so.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Err(error) = self.advance(&mut []) {
                // Whether the alert went out makes no difference any more.
                let _sent = self.poll_send(cx);
                return Poll::Ready(Err(error));
            }
            ready!(self.poll_send(cx))?;
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_receive(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Lets the session have what came, until it can do nothing more with it. Plaintext goes into `room` as far as that
    /// has room, and the rest waits. Returns how much went.
    fn advance(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut incoming = mem::take(&mut self.incoming);
        let mut done = 0;
        let filled = self.process(&mut incoming, &mut done, room);
        if done < incoming.len() {
            if done > 0 {
                // A new vector, so that a long one does not stay for a short rest.
                incoming = incoming.split_off(done);
            }
            self.incoming = incoming;
        }
        filled
    }

    /// `done` is how much of `incoming` is not needed any more, whatever is returned.
    fn process(&mut self, incoming: &mut [u8], done: &mut usize, room: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        loop {
            let rest = incoming.get_mut(*done..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = self.session.process_tls_records(rest);
            let idle = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        discard += record.discard;
                        let free = room.get_mut(filled..).unwrap_or_default();
                        let fits = record.payload.len().min(free.len());
                        let (now, later) = record.payload.split_at(fits);
                        if let Some(free) = free.get_mut(..fits) {
                            free.copy_from_slice(now);
                        }
                        filled += fits;
                        self.plaintext.bytes.extend_from_slice(later);
                    }
                    false
                }
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, &mut self.outgoing)?;
                    false
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    // It will go out before anything else does.
                    data.done();
                    false
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) | ConnectionState::Closed) => {
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.peer_closed = true;
                    false
                }
                // Early data is never offered, and no other state is known.
                Ok(_) => return Err(invalid("a state of TLS that the hub does not serve")),
                Err(error) => {
                    *done += discard;
                    self.alert(incoming.get_mut(*done..).unwrap_or_default());
                    return Err(invalid(error));
                }
            };
            *done += discard;
            if idle {
                return Ok(filled);
            }
        }
    }

    /// After an error: queues what the session has left to say, which is the alert that tells the peer. It must not look
    /// at `rest` again.
    fn alert(&mut self, rest: &mut [u8]) {
        while self.session.wants_write() {
            let status = self.session.process_tls_records(rest);
            let Ok(ConnectionState::EncodeTlsData(data)) = status.state else { return };
            if encode(data, &mut self.outgoing).is_err() {
                return;
            }
        }
    }

    /// Adds to `incoming` what the socket has. Returns how much that was, 0 at its end.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.incoming.len() > MAX_INCOMING {
            return Poll::Ready(Err(invalid("the peer's message is too long")));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut buffer))?;
            self.incoming.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }

    /// Writes what waits to be sent.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.outgoing.rest() {
            let written = ready!(Pin::new(&mut self.tcp).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.take(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Makes a record of `plaintext`, or of `None` the one that says that nothing follows.
    fn encrypt(&mut self, plaintext: Option<&[u8]>) -> io::Result<()> {
        let mut traffic = match self.session.process_tls_records(&mut self.incoming).state {
            Ok(ConnectionState::WriteTraffic(traffic)) => traffic,
            Ok(_) => return Err(io::ErrorKind::NotConnected.into()),
            Err(error) => return Err(invalid(error)),
        };
        let mut record = |room: &mut [u8]| match plaintext {
            Some(plaintext) => traffic.encrypt(plaintext, room),
            None => traffic.queue_close_notify(room),
        };
        let length = match record(&mut []) {
            Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => required_size,
            Err(error) => return Err(invalid(error)),
            Ok(_) => return Ok(()),
        };
        self.outgoing.append(length, record).map_err(invalid)
    }
}

/// Queues a message of the handshake, or an alert.
fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, outgoing: &mut Pending) -> io::Result<()> {
    match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
            outgoing.append(required_size, |room| data.encode(room)).map_err(invalid)
        }
        Err(error) => Err(invalid(error)),
        Ok(_) => Ok(()),
    }
}

fn invalid(error: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl AsyncRead for X509Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if let Some(rest) = this.plaintext.rest() {
                let count = rest.len().min(buf.remaining());
                buf.put_slice(rest.get(..count).unwrap_or_default());
                this.plaintext.take(count);
                return Poll::Ready(Ok(()));
            }
            if this.peer_closed || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if !this.incoming.is_empty() {
                let filled = this.advance(buf.initialize_unfilled())?;
                buf.advance(filled);
                // A key update of the peer is answered; what it does not take now goes with the next write or flush.
                if let Poll::Ready(sent) = this.poll_send(cx) {
                    sent?;
                }
                if filled > 0 || this.peer_closed {
                    return Poll::Ready(Ok(()));
                }
            }
            if ready!(this.poll_receive(cx))? == 0 {
                // Without the peer's word that nothing follows, somebody else may have cut the stream.
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

impl AsyncWrite for X509Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        // So no more than one record waits for a peer that does not read.
        ready!(this.poll_send(cx))?;
        let plaintext = buf.get(..MAX_FRAGMENT).unwrap_or(buf);
        if plaintext.is_empty() {
            return Poll::Ready(Ok(0));
        }
        this.encrypt(Some(plaintext))?;
        if let Poll::Ready(sent) = this.poll_send(cx) {
            sent?;
        }
        Poll::Ready(Ok(plaintext.len()))
    }

    /// All of it becomes one record, as far as it fits.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut gathered = Vec::new();
        for buf in bufs {
            let room = MAX_FRAGMENT.saturating_sub(gathered.len());
            gathered.extend_from_slice(buf.get(..room).unwrap_or(buf));
        }
        self.poll_write(cx, &gathered)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            self.encrypt(None)?;
            self.closing = true;
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl Pending {
    fn rest(&self) -> Option<&[u8]> {
        self.bytes.get(self.taken..).filter(|rest| !rest.is_empty())
    }

    fn take(&mut self, count: usize) {
        self.taken += count;
        if self.taken >= self.bytes.len() {
            *self = Self::default();
        }
    }

    /// Adds what is written into `length` bytes of room; how much that was, is returned by who writes it.
    fn append<E>(&mut self, length: usize, write: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<(), E> {
        let old = self.bytes.len();
        self.bytes.resize(old + length, 0);
        let written = write(self.bytes.get_mut(old..).unwrap_or_default());
        self.bytes.truncate(old + written.as_ref().map_or(0, |written| *written));
        written.map(drop)
    }
}

impl fmt::Debug for X509Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X509Stream").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}
