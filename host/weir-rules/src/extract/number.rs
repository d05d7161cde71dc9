//! Numbers of JSON: to doubles, to integers, and to one exact decimal form.

/// Powers of ten that are exact doubles, as far as the short way needs them.
const TENS: [f64; 17] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16];

/// The nearest double. `None` for what lies beyond the doubles, such as `1e400`.
pub(crate) fn double(text: &str) -> Option<f64> {
    if let Some(value) = short_double(text.as_bytes()) {
        return Some(value);
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// Numbers of few digits without exponent: the digits and the power of ten are both exact, so that one division rounds
/// once, to the nearest.
#[inline]
fn short_double(text: &[u8]) -> Option<f64> {
    let (digits, sign) = match text.split_first()? {
        (b'-', digits) => (digits, -1.0),
        _ => (text, 1.0),
    };
    if digits.len() >= TENS.len() {
        return None;
    }
    let (mut mantissa, mut fraction, mut step) = (0_u64, 0, 0);
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            mantissa = mantissa * 10 + u64::from(digit);
            fraction += step;
        } else if *byte == b'.' {
            step = 1;
        } else {
            return None;
        }
    }
    let exact = mantissa <= 1 << 53;
    exact.then_some(sign * (mantissa as f64 / TENS.get(fraction)?))
}

/// The number if it is an integer of 64 bits, however it is written (`1.0` and `1e0` are 1).
pub(crate) fn integer(text: &str) -> Option<i64> {
    if !text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        return text.parse().ok();
    }
    let decimal = Decimal::of(text)?;
    // 19 digits hold every i64, so that a huge exponent never becomes a huge text.
    if decimal.exponent < 0 || decimal.point() > 19 {
        return None;
    }
    let mut plain = String::new();
    decimal.write(&mut plain);
    plain.parse().ok()
}

/// A number exactly: `digits × 10^exponent`, the digits without zeros at either end, none for zero.
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// `None` if the exponent does not fit.
    fn of(text: &str) -> Option<Self> {
        let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let significant = all.trim_start_matches('0').trim_end_matches('0');
        if significant.is_empty() {
            return Some(Self { negative: false, digits: String::new(), exponent: 0 });
        }
        let zeros = all.len() - all.trim_end_matches('0').len();
        let exponent = exponent.parse::<i64>().ok()?.checked_sub(fraction.len() as i64)?.checked_add(zeros as i64)?;
        Some(Self { negative, digits: significant.to_owned(), exponent })
    }

    /// How many digits stand to the left of the point.
    fn point(&self) -> i64 {
        self.exponent.saturating_add(self.digits.len() as i64)
    }

    /// Plain up to 21 places to the left of the point and 5 zeros to its right, with an exponent otherwise: as JavaScript
    /// writes numbers.
    fn write(&self, into: &mut String) {
        use std::fmt::Write as _;

        let digits = self.digits.as_str();
        if digits.is_empty() {
            into.push('0');
            return;
        }
        if self.negative {
            into.push('-');
        }
        let point = self.point();
        let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
        match usize::try_from(point) {
            Ok(point) if point <= 21 && point >= digits.len() => {
                into.push_str(digits);
                into.push_str(&zeros(self.exponent));
            }
            Ok(point) if point <= 21 && point > 0 => {
                let (whole, fraction) = digits.split_at(point);
                into.extend([whole, ".", fraction]);
            }
            _ if (-5..=0).contains(&point) => into.extend(["0.", &zeros(-point), digits]),
            _ => {
                let (first, others) = digits.split_at(1);
                into.push_str(first);
                if !others.is_empty() {
                    into.extend([".", others]);
                }
                // Writing to a String cannot fail.
                let _written = write!(into, "e{}", point.saturating_sub(1));
            }
        }
    }
}

/// Appends the number in the form that all equal numbers share.
pub(crate) fn canonical_number(text: &str, into: &mut String) {
    match Decimal::of(text) {
        Some(decimal) => decimal.write(into),
        // An exponent beyond 64 bits: such numbers are only compared with themselves.
        None => into.push_str(text),
    }
}
