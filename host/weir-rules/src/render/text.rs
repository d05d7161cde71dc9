//! Settings with `${…}` as texts.

use arrow::array::{ArrayRef, StringArray, StringBuilder};
use weir_core::seams::SettingValue;

use super::{TooLarge, cell::Cells};

/// Bytes that all texts of one setting in one batch may have: an Arrow column of texts holds no more than 2^31.
const MAX_BYTES: usize = 1 << 30;

/// The form of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TextForm {
    pub(crate) setting: String,
    pub(crate) pieces: Vec<TextPiece>,
    pub(crate) value: SettingValue,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum TextPiece {
    Literal(String),
    /// What rules of one shape have different literals for: a column, taken as it is.
    Varying(usize),
    /// A computed column, guarded.
    Computed(usize),
}

impl TextForm {
    /// One text for each row; NULL where a value is NULL or not allowed in such a setting.
    pub(crate) fn render(&self, rows: usize, columns: &[ArrayRef]) -> Result<StringArray, TooLarge> {
        let cells = |column: &usize| columns.get(*column).map_or(Cells::Null, |array| Cells::new(array, false));
        let pieces: Vec<(&TextPiece, Cells)> = self
            .pieces
            .iter()
            .map(|piece| match piece {
                TextPiece::Literal(_) => (piece, Cells::Null),
                TextPiece::Varying(column) | TextPiece::Computed(column) => (piece, cells(column)),
            })
            .collect();
        let mut texts = StringBuilder::with_capacity(rows, rows * 32);
        let (mut text, mut value, mut bytes) = (String::new(), Vec::new(), 0);
        for row in 0..rows {
            text.clear();
            let is_whole = pieces.iter().all(|(piece, cells)| match piece {
                TextPiece::Literal(literal) => {
                    text.push_str(literal);
                    true
                }
                TextPiece::Varying(_) | TextPiece::Computed(_) if cells.is_null(row) => false,
                TextPiece::Varying(_) => {
                    value.clear();
                    cells.write_plain(row, &mut value);
                    text.push_str(str::from_utf8(&value).unwrap_or_default());
                    true
                }
                TextPiece::Computed(_) => {
                    value.clear();
                    cells.write_plain(row, &mut value);
                    str::from_utf8(&value).is_ok_and(|value| self.push_guarded(value, &mut text))
                }
            });
            texts.append_option(is_whole.then_some(&text));
            bytes += text.len();
            if bytes > MAX_BYTES {
                return Err(TooLarge);
            }
        }
        Ok(texts.finish())
    }

    /// Appends a value that came from a message, if such a setting may hold it.
    fn push_guarded(&self, value: &str, text: &mut String) -> bool {
        match self.value {
            // A value is one level or part of one; it must not make others.
            SettingValue::Topic if value.is_empty() || value.contains(['/', '+', '#', '\0']) => return false,
            SettingValue::Url => push_percent_encoded(value, text),
            SettingValue::Topic | SettingValue::Plain | SettingValue::Secret => text.push_str(value),
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
