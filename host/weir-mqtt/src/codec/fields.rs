//! Reading the fields of a packet in order. Never reads past the frame.

use crate::{ProtocolError, codes::Reason};

#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    /// What to call the packet in an error.
    packet: &'static str,
}

impl<'a> Fields<'a> {
    pub(super) fn new(packet: &'static str, body: &'a [u8]) -> Self {
        Self { rest: body, packet }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn byte(&mut self) -> Result<u8, ProtocolError> {
        let (byte, rest) = self.rest.split_first().ok_or(self.malformed())?;
        self.rest = rest;
        Ok(*byte)
    }

    pub(super) fn number(&mut self) -> Result<u16, ProtocolError> {
        let (bytes, rest) = self.rest.split_first_chunk::<2>().ok_or(self.malformed())?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    pub(super) fn long(&mut self) -> Result<u32, ProtocolError> {
        let (bytes, rest) = self.rest.split_first_chunk::<4>().ok_or(self.malformed())?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// A variable byte integer, in as few bytes as it needs [MQTT5-1.5.5-1].
    pub(super) fn variable(&mut self) -> Result<u32, ProtocolError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 { Err(self.malformed()) } else { Ok(value) };
            }
        }
        Err(self.malformed())
    }

    /// Bytes after their length as a variable byte integer.
    pub(super) fn section(&mut self) -> Result<&'a [u8], ProtocolError> {
        // It has 28 bits.
        let length = self.variable()? as usize;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(self.malformed())?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A reason code, one of `known`; at the end of the packet it is left out when it is 0.
    pub(super) fn reason(&mut self, known: &[Reason]) -> Result<Reason, ProtocolError> {
        if self.is_empty() {
            return Ok(Reason::Success);
        }
        let code = self.byte()?;
        Reason::from_u8(code)
            .filter(|reason| known.contains(reason))
            .ok_or(ProtocolError::ReasonCode { packet: self.packet, code })
    }

    /// A packet identifier, which is never 0 [MQTT-2.3.1-1].
    pub(super) fn packet_id(&mut self) -> Result<u16, ProtocolError> {
        match self.number()? {
            0 => Err(ProtocolError::PacketIdZero),
            id => Ok(id),
        }
    }

    /// Bytes after their length in two bytes.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], ProtocolError> {
        let length = usize::from(self.number()?);
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(self.malformed())?;
        self.rest = rest;
        Ok(bytes)
    }

    /// [MQTT-1.5.3-1]: UTF-8 without surrogates, as Rust has it.
    pub(super) fn utf8(&mut self) -> Result<&'a str, ProtocolError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| ProtocolError::Text)
    }

    /// [MQTT-1.5.3-1], [MQTT-1.5.3-2]: UTF-8 without the null character.
    pub(super) fn text(&mut self) -> Result<&'a str, ProtocolError> {
        let text = self.utf8()?;
        if text.as_bytes().contains(&0) { Err(ProtocolError::Text) } else { Ok(text) }
    }

    pub(super) fn end(&self) -> Result<(), ProtocolError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed()) }
    }

    fn malformed(&self) -> ProtocolError {
        ProtocolError::Malformed(self.packet)
    }
}
