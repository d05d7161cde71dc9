//! Whatever comes, in whatever order: no panic, and bounds that hold.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn no_sequence_of_datagrams_harms(
        datagrams in proptest::collection::vec(
            (0..8_u8, 0..8_u8, any::<u16>(), proptest::collection::vec(any::<u8>(), 0..80), 0..300_u64), 0..40,
        ),
    ) {
        let mut endpoint = Endpoint::new(EndpointLimits { body: 4_096, ..EndpointLimits::default() }, 3);
        let mut now = Instant::now();
        for (first, code, id, rest, seconds) in datagrams {
            // Nearly messages: a version, a short token, a method or an answer.
            let mut bytes = vec![0x40 | (first & 3) << 4, code, 0, (id % 7) as u8];
            bytes.extend(rest);
            let mut events = Vec::new();
            let _may_be_malformed = endpoint.receive(&bytes, now, &mut events);
            for event in std::mem::take(&mut events) {
                if let Event::Request { exchange, message } = event {
                    prop_assert!(message.payload.len() <= 4_096);
                    match message.first(option::OBSERVE).is_some() && endpoint.may_observe() {
                        true => {
                            let observed = endpoint.observe(exchange, content(vec![1; 2_000]), now, &mut events);
                            if let Some(id) = observed.filter(|_| endpoint.may_notify()) {
                                endpoint.notify(id, content(vec![2; 2_000]), first & 1 == 0, now, &mut events);
                            }
                        }
                        false => endpoint.respond(exchange, content(vec![1; usize::from(id)]), now),
                    }
                }
            }
            now += Duration::from_secs(seconds);
            endpoint.elapsed(now, &mut events);
            while let Some(sent) = endpoint.transmit() {
                prop_assert!(sent.len() <= codec::MAX_DATAGRAM, "{} bytes", sent.len());
                prop_assert!(codec::decode(&sent).is_ok());
            }
            prop_assert!(endpoint.exchanges.len() <= EXCHANGES);
        }
    }
}
