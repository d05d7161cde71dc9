//! Properties of outgoing packets.
//!
//! Their length stands before them. So that it cannot differ from what is written, both come from the same description:
//! it is given once to something that counts, and once to the buffer.

use std::borrow::Cow;

use super::{Unwritable, variable, variable_size};
use crate::codec::properties::id;

/// Takes what a description of properties gives it.
pub(super) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    fn byte(&mut self, id: u8, value: u8) {
        self.put(&[id, value]);
    }

    fn number(&mut self, id: u8, value: u16) {
        self.put(&[id]);
        self.put(&value.to_be_bytes());
    }

    fn long(&mut self, id: u8, value: u32) {
        self.put(&[id]);
        self.put(&value.to_be_bytes());
    }

    /// At most 65,535 bytes, which whoever describes has checked.
    fn bytes(&mut self, id: u8, value: &[u8]) {
        self.put(&[id]);
        self.put(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        self.put(value);
    }

    fn variable(&mut self, id: u8, value: u32);
}

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Length(pub(super) usize);

impl Sink for Length {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    fn variable(&mut self, _: u8, value: u32) {
        self.0 += 1 + variable_size(value as usize);
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn variable(&mut self, id: u8, value: u32) {
        self.push(id);
        variable(self, value as usize);
    }
}

/// Whether a field with two bytes of length can hold it.
pub(super) fn fits(field: &[u8]) -> bool {
    u16::try_from(field.len()).is_ok()
}

/// User properties as they go into a PUBLISH; made once for all the subscribers of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodedUserProperties(Vec<u8>);

impl EncodedUserProperties {
    /// From the JSON array of `[name, value]` pairs that `Envelope::user_properties` is. Fails if it is something else,
    /// or has text that MQTT cannot carry: they are sent on as they are or not at all [MQTT5-3.3.2-17].
    pub fn from_json(json: &str) -> Result<Self, Unwritable> {
        let pairs: Vec<(Text<'_>, Text<'_>)> = serde_json::from_str(json).map_err(|_| Unwritable::Format)?;
        let mut encoded = Vec::with_capacity(json.len());
        for (Text(name), Text(value)) in &pairs {
            encoded.push(id::USER);
            for text in [name, value] {
                let length = u16::try_from(text.len()).map_err(|_| Unwritable::Format)?;
                if text.as_bytes().contains(&0) {
                    return Err(Unwritable::Format);
                }
                encoded.extend_from_slice(&length.to_be_bytes());
                encoded.extend_from_slice(text.as_bytes());
            }
        }
        Ok(Self(encoded))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Text of JSON, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
