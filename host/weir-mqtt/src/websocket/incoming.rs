//! The frames that a client sends, without I/O: bytes come in, their payload comes out in their place.
//!
//! Whether a client cuts a packet into frames, or packs several into one, makes no difference [MQTT-6.0.0-2].

use std::io::Cursor;

use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{CloseCode, Control, Data, OpCode},
};

/// RFC 6455 §5.2.
const MAX_HEADER: usize = 14;
/// RFC 6455 §5.5.
const MAX_CONTROL: u64 = 125;

/// What a client may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    /// [MQTT-6.0.0-1]
    #[error("mqtt must come in binary frames, not in text")]
    Text,
    #[error("the frames break RFC 6455: {0}")]
    Protocol(&'static str),
    #[error("a message has more than {0} bytes")]
    TooLarge(u64),
}

/// That nothing more is read, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client closes, with a code unless it gave none.
    Closed(Option<u16>),
    Violated(Violation),
}

#[derive(Debug)]
pub(super) struct Incoming {
    /// Bytes that one message may have.
    limit: u64,
    /// The start of a header whose rest has not come.
    header: [u8; MAX_HEADER],
    gathered: u8,
    /// The frame whose payload is coming.
    frame: Option<Frame>,
    /// Bytes of the message that is not complete; `None` between messages.
    message: Option<u64>,
    /// The payload of the control frame that is coming.
    control: Vec<u8>,
    /// What the newest ping holds, until it is answered.
    ping: Option<Box<[u8]>>,
    end: Option<End>,
}

#[derive(Debug)]
struct Frame {
    opcode: OpCode,
    left: u64,
    /// For the next byte first.
    mask: [u8; 4],
}

impl Incoming {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            header: [0; MAX_HEADER],
            gathered: 0,
            frame: None,
            message: None,
            control: Vec::new(),
            ping: None,
            end: None,
        }
    }

    /// Why there is nothing more to come.
    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    /// What the newest ping holds that was not answered yet. Older ones need no answer (RFC 6455 §5.5.3).
    pub(super) fn ping(&mut self) -> Option<Box<[u8]>> {
        self.ping.take()
    }

    /// Decodes `bytes`, which follow those of the last call. Leaves MQTT's at their start and says how many these are.
    pub(super) fn receive(&mut self, bytes: &mut [u8]) -> usize {
        let (mut read, mut kept) = (0, 0);
        while read < bytes.len() && self.end.is_none() {
            let rest = bytes.get_mut(read..).unwrap_or_default();
            let Some(frame) = &mut self.frame else {
                match self.head(rest) {
                    Ok(used) => read += used,
                    Err(violation) => self.end = Some(End::Violated(violation)),
                }
                continue;
            };
            let count = usize::try_from(frame.left).map_or(rest.len(), |left| left.min(rest.len()));
            let payload = rest.get_mut(..count).unwrap_or_default();
            frame.unmask(payload);
            frame.left -= count as u64;
            if matches!(frame.opcode, OpCode::Data(_)) {
                bytes.copy_within(read..read + count, kept);
                kept += count;
            } else {
                self.control.extend_from_slice(payload);
            }
            read += count;
            self.finish_frame();
        }
        kept
    }

    /// Reads a header, or as much of it as there is, and says how many bytes it took.
    fn head(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let before = usize::from(self.gathered);
        let mut used = 0;
        for (place, byte) in self.header.iter_mut().skip(before).zip(bytes) {
            *place = *byte;
            used += 1;
        }
        let mut cursor = Cursor::new(self.header.get(..before + used).unwrap_or_default());
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| Violation::Protocol("reserved opcode"))?;
        let Some((header, length)) = parsed else {
            // At most a header's length.
            self.gathered = (before + used) as u8;
            return Ok(used);
        };
        let used = (cursor.position() as usize).saturating_sub(before);
        self.gathered = 0;
        self.frame = Some(self.begin(&header, length)?);
        self.finish_frame();
        Ok(used)
    }

    fn begin(&mut self, header: &FrameHeader, length: u64) -> Result<Frame, Violation> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Violation::Protocol("reserved bit"));
        }
        let Some(mask) = header.mask else { return Err(Violation::Protocol("no mask")) };
        match header.opcode {
            OpCode::Control(_) if length > MAX_CONTROL || !header.is_final => {
                return Err(Violation::Protocol("control frame in parts, or too long"));
            }
            OpCode::Control(_) => {}
            OpCode::Data(data) => {
                let before = match (data, self.message) {
                    (Data::Text, _) => return Err(Violation::Text),
                    (Data::Binary, None) => 0,
                    (Data::Binary, Some(_)) => return Err(Violation::Protocol("message within a message")),
                    (_, Some(before)) => before,
                    (_, None) => return Err(Violation::Protocol("continuation of nothing")),
                };
                let size = before.saturating_add(length);
                if size > self.limit {
                    return Err(Violation::TooLarge(self.limit));
                }
                self.message = (!header.is_final).then_some(size);
            }
        }
        Ok(Frame { opcode: header.opcode, left: length, mask })
    }

    /// Acts on a frame whose payload is complete.
    fn finish_frame(&mut self) {
        let Some(frame) = self.frame.take_if(|frame| frame.left == 0) else { return };
        let OpCode::Control(control) = frame.opcode else { return };
        let payload = std::mem::take(&mut self.control);
        match control {
            Control::Ping => self.ping = Some(payload.into()),
            Control::Close => self.end = Some(closed(&payload)),
            Control::Pong | Control::Reserved(_) => {}
        }
    }
}

/// What a close frame says. RFC 6455 §5.5.1, §7.4.
fn closed(payload: &[u8]) -> End {
    match payload {
        [] => End::Closed(None),
        [high, low, ..] => match u16::from_be_bytes([*high, *low]) {
            code if CloseCode::from(code).is_allowed() => End::Closed(Some(code)),
            _ => End::Violated(Violation::Protocol("close code")),
        },
        [_] => End::Violated(Violation::Protocol("close code")),
    }
}

impl Frame {
    fn unmask(&mut self, payload: &mut [u8]) {
        let mask = u32::from_ne_bytes(self.mask);
        let length = payload.len();
        let (words, rest) = payload.as_chunks_mut::<4>();
        for word in words {
            *word = (u32::from_ne_bytes(*word) ^ mask).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(self.mask) {
            *byte ^= key;
        }
        self.mask.rotate_left(length % 4);
    }
}

impl Violation {
    /// RFC 6455 §7.4.1.
    pub(super) fn close_code(self) -> u16 {
        match self {
            Self::Text => CloseCode::Unsupported.into(),
            Self::Protocol(_) => CloseCode::Protocol.into(),
            Self::TooLarge(_) => CloseCode::Size.into(),
        }
    }

    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Text => "text_frame",
            Self::Protocol(_) => "malformed_frame",
            Self::TooLarge(_) => "too_large",
        }
    }
}
