//! What an administrator lets a plugin touch: `GRANT http 'api.example.com:443', kv '10 MiB'`.

use std::{fmt, str::FromStr};

/// One thing that a use of a plugin may touch. What is not granted is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// Requests by HTTP to this host and port.
    Http(HostPort),
    /// Connections by TCP to this host and port.
    Tcp(HostPort),
    /// A store of keys and values of so many bytes.
    Kv { bytes: u64 },
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(place) => write!(f, "http '{place}'"),
            Self::Tcp(place) => write!(f, "tcp '{place}'"),
            Self::Kv { bytes } => write!(f, "kv '{bytes} B'"),
        }
    }
}

/// A host, by name or address, and a port. Names are compared without case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// In lower case; an IPv6 address without its brackets.
    pub host: String,
    pub port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a host and a port, such as 'api.example.com:443' or '[::1]:443'")]
pub struct InvalidHostPort;

impl HostPort {
    /// `host` as it stands in a URL.
    pub fn new(host: &str, port: u16) -> Self {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        // A dot at the end says that the name is whole; it is the same name.
        let bare = bare.strip_suffix('.').unwrap_or(bare);
        Self { host: bare.to_ascii_lowercase(), port }
    }
}

impl FromStr for HostPort {
    type Err = InvalidHostPort;

    fn from_str(text: &str) -> Result<Self, InvalidHostPort> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidHostPort)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or(InvalidHostPort)?;
        let in_brackets = host.starts_with('[') && host.ends_with(']');
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_address = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.');
        let known = match in_brackets {
            true => host.trim_matches(['[', ']']).chars().all(is_address),
            false => host.chars().all(is_name),
        };
        let named = HostPort::new(host, port);
        if known && !named.host.is_empty() && named.host.len() <= 253 { Ok(named) } else { Err(InvalidHostPort) }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(text.parse::<HostPort>().ok().map(|place| place.to_string()).as_deref(), expected, "{text}");
        };
        check("API.example.com:443", Some("api.example.com:443"));
        check("example.com.:80", Some("example.com:80"));
        check("127.0.0.1:8086", Some("127.0.0.1:8086"));
        check("[::1]:6379", Some("[::1]:6379"));
        for wrong in
            ["", "example.com", ":80", "example.com:0", "example.com:70000", "::1:80", "*:80", "a/b:80", "a b:1"]
        {
            check(wrong, None);
        }
    }
}
