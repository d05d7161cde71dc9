//! Any bytes as one datagram: what is a message is written as it was read, and every request of it can be judged.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_coap::{
    codec::{Malformed, decode, encode},
    request,
};

fuzz_target!(|bytes: &[u8]| {
    match decode(bytes) {
        Ok(message) => {
            assert_eq!(encode(&message), bytes, "a message has one form");
            if let Some(shown) = request::shown(&message) {
                assert!(shown.token.len() <= 255);
            }
            if let Err(refusal) = request::read(&message) {
                assert!(refusal.code.is_failure() && refusal.payload.len() <= 256);
            }
        }
        Err(Malformed { confirmable, .. }) => {
            let is_confirmable = bytes.first().is_some_and(|first| first & 0xf0 == 0x40) && bytes.len() >= 4;
            assert_eq!(confirmable.is_some(), is_confirmable);
        }
    }
});
