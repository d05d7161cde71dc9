//! Codes of CoAP (RFC 7252 §12.1), and the one table from error kinds to them.

use std::fmt;

use weir_core::ErrorKind;

/// A method, or what became of a request, as the class and the detail of its byte.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u8);

impl Code {
    pub const EMPTY: Self = Self::of(0, 0);

    pub const GET: Self = Self::of(0, 1);
    pub const POST: Self = Self::of(0, 2);
    pub const PUT: Self = Self::of(0, 3);
    /// RFC 8132.
    pub const PATCH: Self = Self::of(0, 6);
    pub const IPATCH: Self = Self::of(0, 7);

    pub const VALID: Self = Self::of(2, 3);
    pub const CHANGED: Self = Self::of(2, 4);
    pub const CONTENT: Self = Self::of(2, 5);
    pub const CONTINUE: Self = Self::of(2, 31);

    pub const BAD_REQUEST: Self = Self::of(4, 0);
    pub const UNAUTHORIZED: Self = Self::of(4, 1);
    pub const BAD_OPTION: Self = Self::of(4, 2);
    pub const FORBIDDEN: Self = Self::of(4, 3);
    pub const NOT_FOUND: Self = Self::of(4, 4);
    pub const METHOD_NOT_ALLOWED: Self = Self::of(4, 5);
    pub const NOT_ACCEPTABLE: Self = Self::of(4, 6);
    pub const INCOMPLETE: Self = Self::of(4, 8);
    /// RFC 8132.
    pub const CONFLICT: Self = Self::of(4, 9);
    pub const TOO_LARGE: Self = Self::of(4, 13);
    /// RFC 8516.
    pub const TOO_MANY_REQUESTS: Self = Self::of(4, 29);
    pub const INTERNAL: Self = Self::of(5, 0);
    pub const UNAVAILABLE: Self = Self::of(5, 3);
    pub const PROXYING: Self = Self::of(5, 5);

    const fn of(class: u8, detail: u8) -> Self {
        Self(class << 5 | detail)
    }

    pub fn class(self) -> u8 {
        self.0 >> 5
    }

    pub fn is_request(self) -> bool {
        self.class() == 0 && self != Self::EMPTY
    }

    pub fn is_failure(self) -> bool {
        self.class() >= 4
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.class(), self.0 & 0x1f)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a client is told of a failure.
pub fn of_kind(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid => Code::BAD_REQUEST,
        ErrorKind::Unauthenticated => Code::UNAUTHORIZED,
        ErrorKind::Forbidden => Code::FORBIDDEN,
        ErrorKind::NotFound => Code::NOT_FOUND,
        ErrorKind::Conflict => Code::CONFLICT,
        ErrorKind::TooLarge => Code::TOO_LARGE,
        ErrorKind::Throttled => Code::TOO_MANY_REQUESTS,
        ErrorKind::Unavailable => Code::UNAVAILABLE,
        ErrorKind::Internal => Code::INTERNAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_numbers_of_the_registry() {
        for (code, text, byte) in [
            (Code::GET, "0.01", 0x01),
            (Code::IPATCH, "0.07", 0x07),
            (Code::CONTENT, "2.05", 0x45),
            (Code::CONTINUE, "2.31", 0x5f),
            (Code::CONFLICT, "4.09", 0x89),
            (Code::TOO_MANY_REQUESTS, "4.29", 0x9d),
            (Code::PROXYING, "5.05", 0xa5),
        ] {
            assert_eq!((code.to_string().as_str(), code.0), (text, byte));
        }
        assert!(Code::GET.is_request() && !Code::EMPTY.is_request() && !Code::CONTENT.is_request());
        assert!(Code::INTERNAL.is_failure() && !Code::CONTINUE.is_failure());
    }
}
