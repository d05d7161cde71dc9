//! Observations with a client that acknowledges, rejects, cancels and is silent as it likes: notifications of the peer go up in
//! their order, at most one is on its way, and the bounds hold.
//!
//! An input is steps of two bytes: what happens, and to what.

#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use weir_coap::{
    codec::{Kind, Message, Token, decode, encode, option},
    codes::Code,
    endpoint::{Endpoint, EndpointLimits, Event, Response},
};

const MOST: usize = 4;

fuzz_target!(|bytes: &[u8]| {
    let limits = EndpointLimits { observations: MOST, ..EndpointLimits::default() };
    let mut endpoint = Endpoint::new(limits, 1);
    let mut now = Instant::now();
    let (mut events, mut last_sent, mut latest) = (Vec::new(), 0, 0);
    for (id, step) in (0..).zip(bytes.as_chunks::<2>().0) {
        let [what, which] = *step;
        match what % 7 {
            // Registers, or cancels.
            kind @ (0 | 1) => {
                let mut message = Message::new(Kind::Confirmable, Code::GET, id);
                message.token = Token::from_slice(&[which % 6]);
                message.add(option::OBSERVE, option::of_uint(u32::from(kind)));
                message.add(option::URI_PATH, [b'a' + which % 2]);
                receive(&mut endpoint, &message, now, &mut events);
            }
            2 => receive(&mut endpoint, &Message::empty(Kind::Acknowledgement, last_sent), now, &mut events),
            3 => receive(&mut endpoint, &Message::empty(Kind::Reset, last_sent), now, &mut events),
            4 => {
                now += Duration::from_secs(u64::from(which));
                endpoint.elapsed(now, &mut events);
            }
            5 => endpoint.ping(now),
            _ => {
                let observations = endpoint.observations();
                if let Some(id) = observations.get(usize::from(which) % observations.len().max(1))
                    && endpoint.may_notify()
                {
                    let body = vec![what; usize::from(which) * 16];
                    let response = Response { payload: body.into(), ..Response::of(Code::CONTENT) };
                    let confirmable = what & 0x80 != 0;
                    assert!(endpoint.notify(*id, response, confirmable, now, &mut events));
                    assert!(!(endpoint.may_notify() && confirmable), "one is on its way");
                }
            }
        }
        for event in std::mem::take(&mut events) {
            if let Event::Request { exchange, message } = event {
                let wants = message.first(option::OBSERVE) == Some(&[]);
                if wants && endpoint.may_observe() {
                    endpoint.observe(exchange, Response::of(Code::CONTENT), now, &mut events);
                } else {
                    endpoint.respond(exchange, Response::of(Code::CONTENT), now);
                }
            }
        }
        events.clear();
        assert!(endpoint.observations().len() <= MOST);
        assert_eq!(endpoint.is_observing(), !endpoint.observations().is_empty());
        let mut again = Vec::new();
        while let Some(sent) = endpoint.transmit() {
            let sent = decode(&sent).expect("what is sent is a message");
            if let Some(number) = sent.first(option::OBSERVE).and_then(option::uint) {
                // What is sent again has its number still.
                if number > latest {
                    latest = number;
                } else {
                    again.push(number);
                }
            }
            if sent.kind != Kind::Acknowledgement && sent.kind != Kind::Reset {
                last_sent = sent.id;
            }
        }
        assert!(again.iter().all(|number| *number <= latest));
    }
});

fn receive(endpoint: &mut Endpoint, message: &Message, now: Instant, events: &mut Vec<Event>) {
    endpoint.receive(&encode(message), now, events).expect("it is a message");
}
