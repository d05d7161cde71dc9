//! Signatures of requests (vendor protocol §3.2): HMAC over method, host, path, query, algorithm, time, nonce and the hash
//! of the body, each as it was sent.
//!
//! Clients differ in the host. Some sign the name with the port and some without, and the vendor's sign the name of the
//! vendor's gateway wherever they are led. All three are tried.

use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use weir_broker::SigningMethod;

use crate::error::ApiError;

/// What the vendor's clients sign whatever host they ask.
const VENDOR_HOST: &str = "ap-guangzhou.gateway.tencentdevices.com";

/// A signature, and what it may be one of.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) method: SigningMethod,
    pub(super) texts: Vec<String>,
    pub(super) bytes: Vec<u8>,
}

/// Reads the signature of a POST to `path`.
pub(super) fn signature(headers: &HeaderMap, path: &str, body: &[u8]) -> Result<Signature, ApiError> {
    let algorithm = text(headers, "x-tc-algorithm")?;
    let method = SigningMethod::named(&algorithm.to_ascii_lowercase());
    let method = method.ok_or_else(|| ApiError::invalid("X-TC-Algorithm: use hmacsha256 or hmacsha1"))?;
    let (timestamp, nonce) = (number(headers, "x-tc-timestamp")?, number(headers, "x-tc-nonce")?);
    let bytes = STANDARD.decode(text(headers, "x-tc-signature")?);
    let bytes = bytes.map_err(|_| ApiError::invalid("X-TC-Signature is not base64"))?;
    let hash: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let mut hosts = vec![host, without_port(host), VENDOR_HOST];
    hosts.dedup();
    let texts =
        hosts.iter().map(|host| format!("POST\n{host}\n{path}\n\n{algorithm}\n{timestamp}\n{nonce}\n{hash}")).collect();
    Ok(Signature { method, texts, bytes })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, ApiError> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.ok_or_else(|| ApiError::invalid(format!("the header {name} is missing or is not text")))
}

/// As it was sent, as that was signed.
fn number<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, ApiError> {
    let digits = text(headers, name)?;
    if digits.parse::<u64>().is_ok() { Ok(digits) } else { Err(ApiError::invalid(format!("{name} is not a number"))) }
}

fn without_port(host: &str) -> &str {
    host.rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_cut_and_nothing_else() {
        let check = |host, expected| assert_eq!(without_port(host), expected);
        check("hub:8081", "hub");
        check("hub", "hub");
        check("[::1]:8081", "[::1]");
        check("[::1]", "[::1]");
    }
}
