//! JSON in one form, so that equal values are equal texts.
//!
//! Numbers lose what does not change their value (`1.0` and `1e0` are `1`), integers stay exact at any length, strings
//! have the fewest escapes, keys are sorted and the last of duplicates stands.

use std::borrow::Cow;

use super::{
    members::{Items, Member},
    number::canonical_number,
    text::{quote, unescape},
};

/// Appends the canonical form of a valid JSON text.
pub(crate) fn canonical(text: &str, into: &mut String) {
    match text.as_bytes().first() {
        Some(b'{') => object(text, into),
        Some(b'[') => {
            into.push('[');
            for (i, item) in Items::of(text).enumerate() {
                if i > 0 {
                    into.push(',');
                }
                canonical(item.value, into);
            }
            into.push(']');
        }
        Some(b'"') => {
            let mut plain = String::new();
            unescape(text.get(1..text.len() - 1).unwrap_or_default(), &mut plain);
            push_quoted(&plain, into);
        }
        Some(b'-' | b'0'..=b'9') => canonical_number(text, into),
        _ => into.push_str(text),
    }
}

fn object(text: &str, into: &mut String) {
    let mut members: Vec<(Cow<'_, str>, Member<'_>)> = Vec::new();
    for member in Items::of(text) {
        members.push((member.key(), member));
    }
    // The sort is stable, so that of equal keys the last in the text is the last here.
    members.sort_by(|(a, _), (b, _)| a.cmp(b));
    into.push('{');
    let mut first = true;
    for (i, (key, member)) in members.iter().enumerate() {
        if members.get(i + 1).is_some_and(|(next, _)| next == key) {
            continue;
        }
        if !first {
            into.push(',');
        }
        first = false;
        push_quoted(key, into);
        into.push(':');
        canonical(member.value, into);
    }
    into.push('}');
}

fn push_quoted(text: &str, into: &mut String) {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    quote(text, &mut quoted);
    // What `quote` makes of a text is a text.
    into.push_str(str::from_utf8(&quoted).unwrap_or_default());
}
