//! A strict scanner of one JSON text: where its values begin and end.
//!
//! It accepts what RFC 8259 does and nothing else (no byte order mark, no lone surrogates, nothing after the value),
//! to a depth of [`MAX_DEPTH`]. It copies nothing and converts nothing; strings and digits are stepped over eight
//! bytes at a time.

/// Arrays and objects within each other. A payload that goes deeper is malformed (as it is to serde_json).
pub const MAX_DEPTH: u32 = 127;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Missing,
    Null,
    True,
    False,
    Number,
    /// A string without escapes: its text stands between the quotes.
    String,
    Escaped,
    Object,
    Array,
}

/// A value in its text, quotes and brackets included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) token: Token,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) const MISSING: Self = Self { token: Token::Missing, start: 0, end: 0 };

    pub(crate) fn of<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// What stands between the quotes of a string.
    pub(crate) fn inner<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.start + 1..self.end.saturating_sub(1)).unwrap_or_default()
    }
}

/// Every method steps over what it names and says `None` when that is not there.
#[derive(Debug, Clone)]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The next byte, or 0 at the end: no valid text has a 0 where this is asked.
    #[inline]
    pub(crate) fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    /// The next byte that is no white space.
    #[inline]
    pub(crate) fn peek_solid(&mut self) -> u8 {
        loop {
            let byte = self.peek();
            // One comparison decides for nearly every byte of compact JSON.
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return byte;
            }
            self.at += 1;
        }
    }

    /// Steps over the byte last peeked.
    #[inline]
    pub(crate) fn bump(&mut self) {
        self.at += 1;
    }

    /// Whether nothing but white space is left.
    pub(crate) fn is_finished(&mut self) -> bool {
        self.peek_solid();
        self.at == self.bytes.len()
    }

    /// A member's key with its colon, up to its value.
    #[inline]
    pub(crate) fn key(&mut self) -> Option<Span> {
        let start = self.at;
        if self.peek() != b'"' {
            return None;
        }
        let token = self.string()?;
        let end = self.at;
        if self.peek_solid() != b':' {
            return None;
        }
        self.at += 1;
        self.peek_solid();
        Some(Span { token, start, end })
    }

    /// Any value; `depth` is that of what it stands in.
    #[inline]
    pub(crate) fn value(&mut self, depth: u32) -> Option<Token> {
        match self.peek() {
            b'{' | b'[' => self.container(depth),
            _ => self.scalar(),
        }
    }

    #[inline]
    fn scalar(&mut self) -> Option<Token> {
        match self.peek() {
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal(b"true", Token::True),
            b'f' => self.literal(b"false", Token::False),
            b'n' => self.literal(b"null", Token::Null),
            _ => None,
        }
    }

    fn literal(&mut self, literal: &[u8], token: Token) -> Option<Token> {
        let found = self.bytes.get(self.at..)?.starts_with(literal);
        self.at += literal.len();
        found.then_some(token)
    }

    #[inline]
    fn number(&mut self) -> Option<Token> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        match self.peek() {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(Token::Number)
    }

    /// One digit or more.
    #[inline]
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        loop {
            let rest = self.bytes.get(self.at..)?;
            if let Some(chunk) = rest.first_chunk() {
                let others = other_than_digits(u64::from_le_bytes(*chunk));
                self.at += first_byte(others);
                if others == 0 {
                    continue;
                }
            } else {
                self.at += rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
            }
            return (self.at > start).then_some(());
        }
    }

    /// From the opening quote to past the closing one.
    #[inline]
    fn string(&mut self) -> Option<Token> {
        let mut token = Token::String;
        self.at += 1;
        loop {
            let rest = self.bytes.get(self.at..)?;
            if let Some(chunk) = rest.first_chunk() {
                let stops = stops(u64::from_le_bytes(*chunk));
                self.at += first_byte(stops);
                if stops == 0 {
                    continue;
                }
            } else {
                self.at += rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
            }
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Some(token);
                }
                b'\\' => {
                    token = Token::Escaped;
                    self.escape()?;
                }
                _ => return None,
            }
        }
    }

    #[cold]
    fn escape(&mut self) -> Option<()> {
        let escape = self.bytes.get(self.at + 1..)?;
        self.at += match escape.first()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
            b'u' => match hex(escape.get(1..5)?)? {
                // The upper half of a pair is followed by the lower; neither stands alone.
                0xD800..0xDC00 => {
                    let lower = escape.get(5..)?.strip_prefix(b"\\u")?;
                    if !(0xDC00..0xE000).contains(&hex(lower.get(..4)?)?) {
                        return None;
                    }
                    12
                }
                0xDC00..0xE000 => return None,
                _ => 6,
            },
            _ => return None,
        };
        Some(())
    }

    /// An array or object with all it holds. One bit per level says which bracket closes it.
    fn container(&mut self, depth: u32) -> Option<Token> {
        let outermost = if self.peek() == b'{' { Token::Object } else { Token::Array };
        let mut objects: u128 = 0;
        let mut level = depth;
        'container: loop {
            let is_object = self.peek() == b'{';
            objects = (objects << 1) | u128::from(is_object);
            level += 1;
            if level > MAX_DEPTH {
                return None;
            }
            self.at += 1;
            // An empty container falls through and is closed like one whose last item has been read.
            if self.peek_solid() != closing(is_object) && self.item(is_object)? {
                continue 'container;
            }
            loop {
                let is_object = objects & 1 == 1;
                let byte = self.peek_solid();
                self.at += 1;
                if byte == b',' {
                    self.peek_solid();
                    if self.item(is_object)? {
                        continue 'container;
                    }
                } else if byte == closing(is_object) {
                    objects >>= 1;
                    level -= 1;
                    if level == depth {
                        return Some(outermost);
                    }
                } else {
                    return None;
                }
            }
        }
    }

    /// A member or element, or where its container opens: then true.
    #[inline]
    fn item(&mut self, is_member: bool) -> Option<bool> {
        if is_member {
            self.key()?;
        }
        if matches!(self.peek(), b'{' | b'[') {
            return Some(true);
        }
        self.scalar()?;
        Some(false)
    }
}

#[inline]
fn closing(is_object: bool) -> u8 {
    if is_object { b'}' } else { b']' }
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

const EACH: u64 = u64::MAX / 0xFF;
const HIGH: u64 = EACH << 7;

/// Marks, in the high bit of its byte, what cannot stand plainly in a string: `"`, `\` and control characters. Only the
/// lowest mark is exact, since a borrow may run into the bytes above it.
#[inline]
pub(crate) fn stops(word: u64) -> u64 {
    let quote = word ^ (EACH * b'"' as u64);
    let slash = word ^ (EACH * b'\\' as u64);
    ((quote.wrapping_sub(EACH) & !quote)
        | (slash.wrapping_sub(EACH) & !slash)
        | (word.wrapping_sub(EACH * 0x20) & !word))
        & HIGH
}

/// As [`stops`], for all that is not a digit.
#[inline]
fn other_than_digits(word: u64) -> u64 {
    let digits = word ^ (EACH * b'0' as u64);
    (digits.wrapping_add(EACH * (0x7F - 9)) | digits) & HIGH
}

/// The lowest marked byte, 8 if there is none.
#[inline]
pub(crate) fn first_byte(marks: u64) -> usize {
    (marks.trailing_zeros() / 8) as usize
}
