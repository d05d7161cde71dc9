//! Names under which the hub is reached, as a certificate may hold them.

use std::{fmt, net::IpAddr, str::FromStr};

use weir_core::{Classify, ErrorKind};

/// A DNS name, which may begin with `*.`, or an IP address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostName {
    /// In lower case.
    Dns(String),
    Ip(IpAddr),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a host name: write a DNS name such as hub.example.org or *.example.org, or an IP address")]
pub struct InvalidHostName {
    text: String,
}

impl HostName {
    /// Names that every hub has.
    pub(super) fn loopback() -> [Self; 3] {
        [
            Self::Dns("localhost".to_owned()),
            Self::Ip([127, 0, 0, 1].into()),
            Self::Ip(std::net::Ipv6Addr::LOCALHOST.into()),
        ]
    }
}

impl FromStr for HostName {
    type Err = InvalidHostName;

    fn from_str(text: &str) -> Result<Self, InvalidHostName> {
        if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
            return Ok(Self::Ip(ip));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let labels = name.strip_prefix("*.").unwrap_or(name);
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // The last label of a name is never a number, or it would be a bad address.
        let numeric = labels.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if name.len() <= 253 && labels.split('.').all(is_label) && !numeric {
            Ok(Self::Dns(name.to_ascii_lowercase()))
        } else {
            Err(InvalidHostName { text: text.chars().take(100).collect() })
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

impl Classify for InvalidHostName {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_when_made() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(text.parse::<HostName>().ok().map(|name| name.to_string()).as_deref(), expected, "{text}");
        };
        check("Hub.Example.org.", Some("hub.example.org"));
        check("*.example.org", Some("*.example.org"));
        check("hub", Some("hub"));
        check("192.0.2.1", Some("192.0.2.1"));
        check("[2001:DB8::1]", Some("2001:db8::1"));
        for wrong in ["", "*", "a..b", "a b", "-a", "192.0.2.300", "a.*.b", "https://hub"] {
            check(wrong, None);
        }
    }
}
