//! What a client subscribes to: a topic filter, for itself or shared with a group (MQTT 5 §4.8.2).

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Qos, TopicFilter, topic::TopicError};

const SHARE: &str = "$share/";

/// `FILTER`, or `$share/GROUP/FILTER`: of the clients that hold the same group and filter, one gets each message. The
/// two with the same filter are different subscriptions.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubscriptionFilter {
    group: Option<Arc<str>>,
    filter: TopicFilter,
}

impl SubscriptionFilter {
    /// The name of the group that shares the messages, if it is a shared subscription.
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// Which topics are meant; without the group.
    pub fn filter(&self) -> &TopicFilter {
        &self.filter
    }
}

impl From<TopicFilter> for SubscriptionFilter {
    /// The filter as it stands, for one client alone.
    fn from(filter: TopicFilter) -> Self {
        Self { group: None, filter }
    }
}

impl FromStr for SubscriptionFilter {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        let Some(shared) = text.strip_prefix(SHARE) else { return Ok(Self { group: None, filter: text.parse()? }) };
        // The name is a level of a filter, so what no filter may have it may not have either [MQTT-4.7.3-3].
        text.parse::<TopicFilter>().map_err(|error| match error {
            TopicError::MultiLevel | TopicError::SingleLevel if !is_group(shared) => TopicError::Share,
            error => error,
        })?;
        // [MQTT5-4.8.2-1], [MQTT5-4.8.2-2]
        let (group, filter) = shared.split_once('/').ok_or(TopicError::Share)?;
        if !is_group(group) {
            return Err(TopicError::Share);
        }
        Ok(Self { group: Some(group.into()), filter: filter.parse()? })
    }
}

/// Whether the name up to the next `/` is one that a group may have.
fn is_group(text: &str) -> bool {
    let name = text.split_once('/').map_or(text, |(name, _)| name);
    !name.is_empty() && !name.contains(['+', '#'])
}

impl fmt::Display for SubscriptionFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(group) = &self.group {
            write!(f, "{SHARE}{group}/")?;
        }
        self.filter.fmt(f)
    }
}

impl fmt::Debug for SubscriptionFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

impl TryFrom<String> for SubscriptionFilter {
    type Error = TopicError;

    fn try_from(text: String) -> Result<Self, TopicError> {
        text.parse()
    }
}

impl From<SubscriptionFilter> for String {
    fn from(filter: SubscriptionFilter) -> String {
        filter.to_string()
    }
}

/// What to subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub filter: SubscriptionFilter,
    pub qos: Qos,
    /// Not what this client publishes itself.
    pub no_local: bool,
    /// Whether messages keep the retain flag that they were published with.
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
    /// Goes with each message that is sent because of this subscription.
    pub identifier: Option<u32>,
}

impl Subscription {
    /// A subscription as MQTT 3.1.1 knows it.
    pub fn new(filter: SubscriptionFilter, qos: Qos) -> Self {
        Self {
            filter,
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
            identifier: None,
        }
    }
}

/// Whether retained messages are sent for a SUBSCRIBE (MQTT 5 §3.8.3.1), with the numbers of its options byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum RetainHandling {
    #[default]
    Send = 0,
    /// Only if there was no such subscription.
    SendIfNew = 1,
    DontSend = 2,
}

impl RetainHandling {
    pub fn from_u8(value: u8) -> Option<Self> {
        [Self::Send, Self::SendIfNew, Self::DontSend].into_iter().find(|handling| *handling as u8 == value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, group: Option<&str>, filter: &str) {
        let parsed: SubscriptionFilter = text.parse().unwrap();
        assert_eq!((parsed.group(), parsed.filter().as_str()), (group, filter), "{text}");
        assert_eq!(parsed.to_string(), text);
        assert_eq!(SubscriptionFilter::try_from(String::from(parsed.clone())), Ok(parsed));
    }

    #[test]
    fn groups_and_filters() {
        check("a/+/c", None, "a/+/c");
        check("$share/g/a/#", Some("g"), "a/#");
        check("$share/g//a", Some("g"), "/a");
        check("$share/g/$share/h/a", Some("g"), "$share/h/a");
        check("$share/é g/+", Some("é g"), "+");
        // Only what begins with "$share/" is shared.
        check("$share", None, "$share");
        check("$shared/g/a", None, "$shared/g/a");
        check("x/$share/g/a", None, "x/$share/g/a");
    }

    #[test]
    fn malformed_shares_are_refused() {
        for (text, error) in [
            ("$share/", TopicError::Share),
            ("$share//a", TopicError::Share),   // [MQTT5-4.8.2-1]
            ("$share/g", TopicError::Share),    // [MQTT5-4.8.2-2]
            ("$share/g+/a", TopicError::Share), // [MQTT5-4.8.2-2]
            ("$share/+/a", TopicError::Share),
            ("$share/#", TopicError::Share),
            ("$share/#/a", TopicError::Share),
            ("$share/g/", TopicError::Empty),
            ("$share/g/a/#/b", TopicError::MultiLevel),
            ("$share/g/a+", TopicError::SingleLevel),
            ("$share/g\0/a", TopicError::Null),
            ("", TopicError::Empty),
        ] {
            assert_eq!(text.parse::<SubscriptionFilter>(), Err(error), "{text:?}");
        }
        let long = format!("$share/g/{}", "a".repeat(65_530));
        assert_eq!(long.parse::<SubscriptionFilter>(), Err(TopicError::TooLong));
    }
}
