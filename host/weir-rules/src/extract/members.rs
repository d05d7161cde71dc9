//! The members of one object, or the elements of one array, of a valid JSON text.

use std::borrow::Cow;

use super::{
    scan::{Scanner, Token},
    text::unescape,
};

/// A member of an object, or an element, which has no key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member<'a> {
    /// As it stands between the quotes.
    raw_key: &'a str,
    is_escaped: bool,
    pub(crate) value: &'a str,
}

impl<'a> Member<'a> {
    pub(crate) fn key(&self) -> Cow<'a, str> {
        if !self.is_escaped {
            return Cow::Borrowed(self.raw_key);
        }
        let mut key = String::new();
        unescape(self.raw_key, &mut key);
        Cow::Owned(key)
    }

    pub(crate) fn raw_key(&self) -> &'a str {
        self.raw_key
    }
}

/// Runs through an array or object in the order of the text. Anything else has no items.
#[derive(Debug)]
pub(crate) struct Items<'a> {
    text: &'a str,
    scanner: Scanner<'a>,
    closing: u8,
}

impl<'a> Items<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        let mut scanner = Scanner::new(text.as_bytes());
        let closing = match scanner.peek_solid() {
            b'{' => b'}',
            b'[' => b']',
            _ => 0,
        };
        Self { text, scanner, closing }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        if self.closing == 0 {
            return None;
        }
        // Steps over the opening bracket or the comma.
        self.scanner.bump();
        if self.scanner.peek_solid() == self.closing {
            self.closing = 0;
            return None;
        }
        let (mut raw_key, mut is_escaped) = ("", false);
        if self.closing == b'}' {
            let key = self.scanner.key()?;
            (raw_key, is_escaped) = (key.inner(self.text), key.token == Token::Escaped);
        }
        let start = self.scanner.at();
        self.scanner.value(0)?;
        let value = self.text.get(start..self.scanner.at())?;
        if self.scanner.peek_solid() == self.closing {
            self.closing = 0;
        }
        Some(Member { raw_key, is_escaped, value })
    }
}
