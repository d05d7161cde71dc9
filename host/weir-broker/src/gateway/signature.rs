//! The signature of a device that lets a gateway bind it (vendor protocol §2.4): an HMAC under the device's key.
//!
//! Absent: signatures by certificate. Their key would be a digest of the certificate, which everybody can compute who has
//! ever seen the device connect, and so prove nothing.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use weir_core::{DeviceId, Timestamp};
use weir_store::UsedSignature;

use super::message::{Asked, Code};
use crate::SigningMethod;

/// Whether a device signed, lately enough. `psk` is its key.
pub(super) fn check(
    device: &DeviceId,
    psk: &[u8],
    asked: &Asked,
    now: Timestamp,
    window: Duration,
) -> Result<UsedSignature, Code> {
    let (Some(signature), Some(random), Some(timestamp), Some(method)) =
        (&asked.signature, asked.random, asked.timestamp, &asked.signmethod)
    else {
        return Err(Code::BadParameter);
    };
    if asked.authtype.as_deref().is_some_and(|authtype| authtype != "psk") {
        return Err(Code::Method);
    }
    if now.seconds().abs_diff(timestamp) > window.as_secs() {
        return Err(Code::Expired);
    }
    let signature = STANDARD.decode(signature).map_err(|_| Code::BadSignature)?;
    let text = format!("{}{};{random};{timestamp}", device.product, device.device);
    // The text of the key, not what it stands for.
    let key = STANDARD.encode(psk);
    let method = SigningMethod::named(method).ok_or(Code::Method)?;
    let is_right = method.verifies(key.as_bytes(), &text, &signature);
    if is_right { Ok(UsedSignature { random, timestamp }) } else { Err(Code::BadSignature) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: i64 = 1_589_786_839;

    /// The specification's key, number and time, and its signatures.
    fn example(method: &str, signature: &str) -> Asked {
        Asked {
            product_id: "ABCDE12345".to_owned(),
            device_name: "dev_01".to_owned(),
            signature: Some(signature.to_owned()),
            random: Some(121_213),
            timestamp: Some(AT),
            signmethod: Some(method.to_owned()),
            authtype: Some("psk".to_owned()),
        }
    }

    fn checked(asked: &Asked, now: i64) -> Result<UsedSignature, Code> {
        let psk: Vec<u8> = (0..16).collect();
        check(&asked.device().unwrap(), &psk, asked, Timestamp(now * 1_000), Duration::from_secs(600))
    }

    #[test]
    fn the_worked_example() {
        for (method, signature) in [
            ("hmacsha1", "nGnFE86Csg8V5T2aGzAy6mzCfok="),
            ("hmacsha256", "dcNklQufeEzs910BkMc0OBPXLVxW1Hb+jlPwuuIpLsA="),
        ] {
            let used = UsedSignature { random: 121_213, timestamp: AT };
            for now in [AT, AT - 600, AT + 600] {
                assert_eq!(checked(&example(method, signature), now), Ok(used), "{method}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        const RIGHT: &str = "nGnFE86Csg8V5T2aGzAy6mzCfok=";
        let wrong = |change: fn(&mut Asked)| {
            let mut asked = example("hmacsha1", RIGHT);
            change(&mut asked);
            checked(&asked, AT).unwrap_err()
        };
        assert_eq!(wrong(|asked| asked.signature = None), Code::BadParameter);
        assert_eq!(wrong(|asked| asked.random = None), Code::BadParameter);
        assert_eq!(wrong(|asked| asked.timestamp = None), Code::BadParameter);
        assert_eq!(wrong(|asked| asked.signmethod = None), Code::BadParameter);
        assert_eq!(wrong(|asked| asked.authtype = Some("certificate".to_owned())), Code::Method);
        assert_eq!(wrong(|asked| asked.signmethod = Some("md5".to_owned())), Code::Method);
        assert_eq!(wrong(|asked| asked.signmethod = Some("hmacsha256".to_owned())), Code::BadSignature);
        assert_eq!(wrong(|asked| asked.signature = Some("?".to_owned())), Code::BadSignature);
        assert_eq!(wrong(|asked| asked.random = Some(1)), Code::BadSignature);
        assert_eq!(wrong(|asked| asked.timestamp = Some(AT + 1)), Code::BadSignature);
        assert_eq!(wrong(|asked| asked.device_name = "dev_02".to_owned()), Code::BadSignature);
        assert_eq!(checked(&example("hmacsha1", RIGHT), AT + 601), Err(Code::Expired));
        assert_eq!(checked(&example("hmacsha1", RIGHT), AT - 601), Err(Code::Expired));
    }
}
