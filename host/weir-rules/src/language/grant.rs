//! `GRANT http 'api.example.com:443', tcp '10.0.0.7:6379', kv '10 MiB'`: what a plugin may touch for a sink.

use sqlparser::tokenizer::Token;
use weir_core::{Grant, HostPort, seams::SqlError};

use super::statement::Reader;
use crate::error::Hint;

/// Grants of one statement.
const MOST: usize = 64;

const KINDS: [&str; 3] = ["http", "tcp", "kv"];

/// The grants that follow, if any do.
pub(crate) fn grants(reader: &mut Reader<'_>) -> Result<Vec<Grant>, SqlError> {
    let mut grants = Vec::new();
    if reader.keyword(&["GRANT"]).is_none() {
        return Ok(grants);
    }
    loop {
        let place = reader.place();
        if grants.len() == MOST {
            return Err(reader.source.error(place, format!("there may be at most {MOST} grants")));
        }
        let kind = reader.keyword(&KINDS).ok_or_else(|| reader.expected_word(&KINDS))?;
        let grant = match kind {
            "http" => Grant::Http(host_port(reader)?),
            "tcp" => Grant::Tcp(host_port(reader)?),
            _ => Grant::Kv { bytes: bytes(reader)? },
        };
        let twice = match &grant {
            Grant::Kv { .. } => grants.iter().any(|other| matches!(other, Grant::Kv { .. })),
            grant => grants.contains(grant),
        };
        if twice {
            return Err(reader.source.error(place, format!("{kind} is granted twice")));
        }
        grants.push(grant);
        if !reader.parser.consume_token(&Token::Comma) {
            return Ok(grants);
        }
    }
}

fn host_port(reader: &mut Reader<'_>) -> Result<HostPort, SqlError> {
    let place = reader.place();
    let text = text(reader, "a host and a port in single quotes")?;
    text.parse().map_err(|error: weir_core::grant::InvalidHostPort| reader.source.error(place, error.to_string()))
}

/// `'10 MiB'`, or `10 MiB` as two words.
fn bytes(reader: &mut Reader<'_>) -> Result<u64, SqlError> {
    const FORM: &str = "write a size such as '10 MiB'";
    let place = reader.place();
    let text = match reader.parser.peek_token_ref().token.clone() {
        Token::Number(number, _) => {
            reader.parser.advance_token();
            let unit = reader.keyword(&["B", "KB", "MB", "GB", "KiB", "MiB", "GiB"]);
            format!("{number} {}", unit.unwrap_or("B"))
        }
        _ => text(reader, "a size in single quotes")?,
    };
    size(&text).ok_or_else(|| reader.source.error(place, format!("{text:?} is not a size")).hint(FORM))
}

fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit).filter(|bytes| *bytes > 0)
}

fn text(reader: &mut Reader<'_>, expected: &str) -> Result<String, SqlError> {
    let Token::SingleQuotedString(text) = reader.parser.peek_token_ref().token.clone() else {
        return Err(reader.unexpected(expected));
    };
    reader.parser.advance_token();
    Ok(text)
}

#[cfg(test)]
mod tests {
    use weir_core::statement::Statement;

    use super::super::parse;

    fn grants(written: &str) -> Result<Vec<String>, String> {
        let script = format!("CREATE SINK s USING plugin.x WITH (url = 'u') {written};");
        let statements = parse(&script).map_err(|error| error.message)?;
        let [Statement::CreateSink(sink)] = statements.as_slice() else { panic!("{statements:?}") };
        Ok(sink.grants.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_granted() {
        let check = |written: &str, expected: &[&str]| assert_eq!(grants(written).unwrap(), expected, "{written}");
        check("", &[]);
        check("GRANT http 'API.example.com:443'", &["http 'api.example.com:443'"]);
        check("grant tcp '[::1]:6379', kv 10 MB", &["tcp '[::1]:6379'", "kv '10000000 B'"]);
        check("GRANT kv '1 MiB', http 'a:1', http 'a:2'", &["kv '1048576 B'", "http 'a:1'", "http 'a:2'"]);
    }

    #[test]
    fn what_cannot_be_granted() {
        let check = |written: &str, expected: &str| assert_eq!(grants(written).unwrap_err(), expected, "{written}");
        check("GRANT", "expected http, tcp or kv, but the statement ends");
        check("GRANT files '/'", "expected http, tcp or kv, found files");
        check("GRANT http", "expected a host and a port in single quotes, but the statement ends");
        check("GRANT http 'example.com'", "write a host and a port, such as 'api.example.com:443' or '[::1]:443'");
        check("GRANT kv 'much'", "\"much\" is not a size");
        check("GRANT kv 0", "\"0 B\" is not a size");
        check("GRANT kv '1 MB', kv '2 MB'", "kv is granted twice");
        check("GRANT http 'a:1', http 'A:1'", "http is granted twice");
    }
}
