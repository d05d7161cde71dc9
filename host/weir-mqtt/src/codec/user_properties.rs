//! User properties (MQTT 5 §3.3.2.3.7): pairs of a name and a value that pass through the hub as they are, in order.
//!
//! On the wire they lie between other properties; in the hub they are a JSON array of `[name, value]` pairs.

use super::properties::{Allowed, Properties, Property};

/// The user properties of a packet, in the bytes they came in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UserProperties<'a> {
    /// All properties of the packet, user or not, which have been checked; none if none is a user's.
    bytes: &'a [u8],
}

impl<'a> UserProperties<'a> {
    /// Those among the checked properties in `bytes`.
    pub(super) fn of_checked(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Names and values in the order received.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut properties = Properties::new(self.bytes, Allowed { packet: "", bits: u64::MAX });
        std::iter::from_fn(move || {
            // No error comes out of what was checked.
            while let Some(property) = properties.next().ok()? {
                if let Property::User(name, value) = property {
                    return Some((name, value));
                }
            }
            None
        })
    }

    /// As `Envelope::user_properties` has them, or `None` if there are none.
    pub fn to_json(&self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let pairs: Vec<_> = self.iter().collect();
        serde_json::to_string(&pairs).ok()
    }
}
