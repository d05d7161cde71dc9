//! Topics and topic filters, checked once when they are made (MQTT 3.1.1 §4.7, MQTT 5 §4.7).

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Classify, DeviceId, ErrorKind};

/// Bytes of a topic or filter in UTF-8 [MQTT-4.7.3-3].
const MAX_BYTES: usize = 65_535;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    #[error("a topic must have at least one character")]
    Empty,
    #[error("a topic must not contain the null character")]
    Null,
    #[error("a topic must not be longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("a topic to publish to must not contain '+' or '#'")]
    Wildcard,
    #[error("'#' must be the last character and fill its level, as in 'a/#'")]
    MultiLevel,
    #[error("'+' must fill its level, as in 'a/+/b'")]
    SingleLevel,
    #[error("a shared subscription is '$share/GROUP/FILTER', the group's name without '+' and '#'")]
    Share,
}

impl Classify for TopicError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// Where a message is published: no wildcards.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Topic(Arc<str>);

/// Which topics a subscription or a rule reads: levels may be `+`, the last may be `#`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicFilter(Arc<str>);

impl Topic {
    /// Checks a topic without keeping it: what the wire delivers is checked in place and copied once, into the log.
    pub fn check(text: &str) -> Result<(), TopicError> {
        check_text(text)?;
        if text.bytes().any(|b| b == b'+' || b == b'#') { Err(TopicError::Wildcard) } else { Ok(()) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The device whose topic this is, if it is one: `PRODUCT/DEVICE/…`, or a system topic that ends (or goes on) with
    /// `…/PRODUCT/DEVICE` (vendor protocol §2.3, §2.4). A filter names one too, where product
    /// and device are no wildcards in it.
    pub fn device_of(text: &str) -> Option<(&str, &str)> {
        let mut levels = text.split('/');
        let first = levels.next()?;
        if !first.starts_with('$') {
            let device = levels.next()?;
            levels.next()?;
            return is_device(first, device).then_some((first, device));
        }
        let mut product = levels.next()?;
        // The name of a shadow is its device's to choose, and may look like a product.
        if first == "$shadow" && product == "name" {
            levels.next()?;
            product = levels.next()?;
        }
        for device in levels {
            if is_device(product, device) {
                return Some((product, device));
            }
            product = device;
        }
        None
    }

    /// As [`Topic::device_of`], parsed.
    pub fn device(&self) -> Option<DeviceId> {
        let (product, device) = Self::device_of(&self.0)?;
        Some(DeviceId { product: product.parse().ok()?, device: device.parse().ok()? })
    }
}

impl TopicFilter {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a message published to `topic` is meant by this filter. Wildcards at the first level leave out topics
    /// that begin with `$` [MQTT-4.7.2-1].
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut topic = topic.split('/');
        for level in self.0.split('/') {
            match (level, topic.next()) {
                ("#", _) => return true,
                (_, None) => return false,
                ("+", Some(_)) => {}
                (level, Some(other)) if level == other => {}
                _ => return false,
            }
        }
        topic.next().is_none()
    }

    /// Whether every topic that `other` can match is matched by this filter too.
    pub fn covers(&self, other: &TopicFilter) -> bool {
        if other.0.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut others = other.0.split('/');
        for level in self.0.split('/') {
            match (level, others.next()) {
                ("#", _) => return true,
                (_, None | Some("#")) => return false,
                ("+", Some(_)) => {}
                (level, Some(other)) if level == other => {}
                _ => return false,
            }
        }
        others.next().is_none()
    }

    /// The filter as a topic, when it has no wildcards.
    pub fn as_topic(&self) -> Option<Topic> {
        self.as_str().parse().ok()
    }
}

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        Self::check(text)?;
        Ok(Self(Arc::from(text)))
    }
}

impl FromStr for TopicFilter {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        check_text(text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            // [MQTT-4.7.1-2], [MQTT-4.7.1-3]
            if level.contains('#') && (level != "#" || levels.peek().is_some()) {
                return Err(TopicError::MultiLevel);
            }
            if level.contains('+') && level != "+" {
                return Err(TopicError::SingleLevel);
            }
        }
        Ok(Self(Arc::from(text)))
    }
}

/// [MQTT-4.7.3-1], [MQTT-4.7.3-2], [MQTT-4.7.3-3]
fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        Err(TopicError::Empty)
    } else if text.len() > MAX_BYTES {
        Err(TopicError::TooLong)
    } else if text.bytes().any(|b| b == 0) {
        Err(TopicError::Null)
    } else {
        Ok(())
    }
}

fn is_device(product: &str, device: &str) -> bool {
    product.len() == 10
        && product.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        && (1..=48).contains(&device.len())
        && device.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-'))
}

macro_rules! text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = TopicError;

            fn try_from(text: String) -> Result<Self, TopicError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.as_str().to_owned()
            }
        }
    };
}

text!(Topic);
text!(TopicFilter);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filter: &str, topic: &str, expected: bool) {
        let filter: TopicFilter = filter.parse().unwrap();
        assert_eq!(filter.matches(topic), expected, "{filter} on {topic}");
    }

    #[test]
    fn filters() {
        check("a/+/c", "a/b/c", true);
        check("a/#", "a", true); // §4.7.1.2: # includes the parent level.
        check("a/#", "a/b/c", true);
        check("a/+", "a", false);
        check("a/+", "a/", true);
        check("+", "a/b", false);
        check("+/b", "$sys/b", false); // [MQTT-4.7.2-1]
        check("#", "$sys/b", false);
        check("$sys/#", "$sys/b", true);
        check("é/+", "é/x", true);
        check("/+", "/x", true);
        check("+/+", "/x", true);
    }

    #[test]
    fn malformed_filters_are_refused() {
        for (text, error) in [
            ("", TopicError::Empty),
            ("a/#/b", TopicError::MultiLevel),
            ("a#", TopicError::MultiLevel),
            ("a+/b", TopicError::SingleLevel),
            ("a\0", TopicError::Null),
        ] {
            assert_eq!(text.parse::<TopicFilter>(), Err(error), "{text:?}");
        }
        assert_eq!("a/+".parse::<Topic>(), Err(TopicError::Wildcard));
        assert_eq!("a/#".parse::<Topic>(), Err(TopicError::Wildcard));
    }

    fn covers(filter: &str, other: &str, expected: bool) {
        let (filter, other): (TopicFilter, TopicFilter) = (filter.parse().unwrap(), other.parse().unwrap());
        assert_eq!(filter.covers(&other), expected, "{filter} over {other}");
    }

    #[test]
    fn a_filter_covers_what_it_can_match() {
        covers("a/#", "a/+/c", true);
        covers("a/#", "a", true);
        covers("a/#", "#", false);
        covers("a/+/c", "a/b/c", true);
        covers("a/+/c", "a/#", false);
        covers("a/+", "a/+", true);
        covers("a/b", "a/+", false);
        covers("#", "$sys/x", false);
    }

    #[test]
    fn the_device_of_a_topic() {
        let device = |text: &str| Topic::device_of(text).map(|(p, d)| format!("{p}/{d}"));
        assert_eq!(device("A1B2C3D4E5/dev/event").as_deref(), Some("A1B2C3D4E5/dev"));
        assert_eq!(device("$shadow/operation/A1B2C3D4E5/dev").as_deref(), Some("A1B2C3D4E5/dev"));
        assert_eq!(device("$shadow/name/fw/operation/A1B2C3D4E5/dev").as_deref(), Some("A1B2C3D4E5/dev"));
        assert_eq!(device("$shadow/name/ZZZZZZZZZZ/operation/A1B2C3D4E5/dev").as_deref(), Some("A1B2C3D4E5/dev"));
        assert_eq!(device("$rrpc/txd/A1B2C3D4E5/dev/17").as_deref(), Some("A1B2C3D4E5/dev"));
        assert_eq!(device("A1B2C3D4E5/dev"), None);
        assert_eq!(device("plain/topic/x"), None);
    }
}
