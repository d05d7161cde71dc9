//! Bodies in blocks, in both directions, by a client that sends what it likes: a body that is given out was sent in this
//! order, is no longer than it may be, and has nothing of another; what is read in blocks is of one state.
//!
//! An input is steps of six bytes: what is sent, the path, the number, more and size of the block, the length of what is
//! in it, and what that is made of.

#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use weir_coap::{
    codec::{Kind, Message, Token, block::Block, encode, option},
    codes::Code,
    endpoint::{Endpoint, EndpointLimits, Event, Response},
};

const LIMIT: usize = 2_048;

fuzz_target!(|bytes: &[u8]| {
    let limits = EndpointLimits { body: LIMIT, ..EndpointLimits::default() };
    let mut endpoint = Endpoint::new(limits, 1);
    let mut now = Instant::now();
    let mut events = Vec::new();
    for (id, step) in (0..).zip(bytes.as_chunks::<6>().0) {
        let [what, path, number, size, length, filler] = *step;
        let block = Block { number: u32::from(number % 40), more: size & 8 != 0, exponent: size & 7 };
        let is_get = what & 1 == 0;
        let mut message = Message::new(Kind::Confirmable, if is_get { Code::GET } else { Code::PUT }, id);
        message.token = Token::from_slice(&id.to_be_bytes());
        message.add(option::URI_PATH, [b'a' + path % 3]);
        message.add(if is_get { option::BLOCK2 } else { option::BLOCK1 }, block.write());
        if !is_get {
            // Each body is of one letter, so that nothing of another goes unseen.
            let full = if block.more && what & 2 == 0 { block.size() } else { usize::from(length) };
            message.payload = vec![filler; full.min(1_024)];
        }
        endpoint.receive(&encode(&message), now, &mut events).expect("it is a message");
        for event in events.drain(..) {
            let Event::Request { exchange, message } = event else { continue };
            assert!(message.payload.len() <= LIMIT.max(1_024));
            let body = if is_get { vec![path; usize::from(length) * 16] } else { Vec::new() };
            let code = if is_get { Code::CONTENT } else { Code::CHANGED };
            endpoint.respond(exchange, Response { payload: body.into(), ..Response::of(code) }, now);
        }
        while let Some(sent) = endpoint.transmit() {
            let sent = weir_coap::codec::decode(&sent).expect("what is sent is a message");
            assert!(sent.payload.len() <= 1_024);
            if is_get && sent.code == Code::CONTENT {
                assert!(sent.payload.iter().all(|byte| sent.payload.first() == Some(byte)), "of one state");
            }
        }
        now += Duration::from_secs(u64::from(what >> 4));
        endpoint.elapsed(now, &mut events);
        events.clear();
    }
});
