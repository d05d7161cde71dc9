//! Licence expressions: may a package be used under the licences that are allowed?

/// Whether `expression` can be satisfied by `allowed` alone. Understands `AND`, `OR`, `WITH`, parentheses, and the old
/// slash for `OR`.
pub(crate) fn permits(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let permitted = either(&mut words, allowed);
    permitted && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn either(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut permitted = both(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        permitted |= both(words, allowed);
    }
    permitted
}

fn both(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut permitted = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        permitted &= one(words, allowed);
    }
    permitted
}

fn one(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let Some(word) = words.next() else { return false };
    if word == "(" {
        let permitted = either(words, allowed);
        return words.next() == Some(")") && permitted;
    }
    let licence = match words.next_if_eq(&"WITH") {
        Some(with) => format!("{word} {with} {}", words.next().unwrap_or_default()),
        None => word.to_owned(),
    };
    allowed.contains(&licence)
}

#[test]
fn expressions() {
    let check = |expression: &str, expected| {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
        assert_eq!(permits(expression, &allowed), expected, "{expression}");
    };
    check("MIT", true);
    check("GPL-3.0", false);
    check("GPL-3.0 OR MIT", true);
    check("GPL-3.0/MIT", true);
    check("GPL-3.0 AND MIT", false);
    check("(GPL-3.0 OR MIT) AND ISC", true);
    check("MIT AND (GPL-3.0 OR LGPL-3.0)", false);
    check("Apache-2.0 WITH LLVM-exception", true);
    check("Apache-2.0", false);
    check("MIT AND", false);
    check("(MIT", false);
    check("", false);
}
