//! Settings with `${…}` as texts.

use weir_core::seams::SettingValue;

use super::cell::Cells;

/// The form of one setting.
#[derive(Debug)]
pub(crate) struct TextForm {
    pub(crate) setting: String,
    pub(crate) pieces: Vec<TextPiece>,
    pub(crate) value: SettingValue,
}

#[derive(Debug)]
pub(crate) enum TextPiece {
    /// What its author wrote, taken as it is.
    Literal(String),
    /// An expression that is always the same; `None` if that is NULL.
    Constant(Option<String>),
    /// A value of the rule, by number.
    Value(usize),
}

impl TextForm {
    /// Appends the text of one row; false, and anything appended, if a value is NULL or not allowed in such a setting.
    /// `value` finds the value of a number: cells and the row in them.
    pub(crate) fn write<'a>(&self, value: impl Fn(usize) -> Option<(&'a Cells, usize)>, into: &mut String) -> bool {
        let mut plain = Vec::new();
        self.pieces.iter().all(|piece| match piece {
            TextPiece::Literal(literal) => {
                into.push_str(literal);
                true
            }
            TextPiece::Constant(constant) => constant.as_ref().is_some_and(|value| self.push_guarded(value, into)),
            TextPiece::Value(number) => {
                let Some((cells, row)) = value(*number).filter(|(cells, row)| !cells.is_null(*row)) else {
                    return false;
                };
                plain.clear();
                cells.write_plain(row, &mut plain);
                str::from_utf8(&plain).is_ok_and(|plain| self.push_guarded(plain, into))
            }
        })
    }

    /// Appends a value that came from a message, if such a setting may hold it.
    fn push_guarded(&self, value: &str, text: &mut String) -> bool {
        match self.value {
            // A value is one level or part of one; it must not make others.
            SettingValue::Topic if value.is_empty() || value.contains(['/', '+', '#', '\0']) => return false,
            SettingValue::Url => push_percent_encoded(value, text),
            _ => text.push_str(value),
        }
        true
    }
}

/// All but the unreserved characters of RFC 3986 section 2.3.
fn push_percent_encoded(value: &str, text: &mut String) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or('0');
            text.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}
