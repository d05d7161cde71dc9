//! Observations (RFC 7641).

use super::*;

impl Client {
    fn observe(&mut self, path: &[&str]) -> (ObservationId, Message, Message) {
        let mut request = self.get(path);
        request.options.insert(0, (option::OBSERVE, Vec::new()));
        self.send(&request);
        let (exchange, _) = self.request();
        let mut events = Vec::new();
        let id = self.endpoint.observe(exchange, content(""), self.now, &mut events).unwrap();
        self.events.extend(events);
        let answer = self.sent().pop().unwrap();
        (id, request, answer)
    }

    fn notify(&mut self, id: ObservationId, payload: impl Into<Bytes>, confirmable: bool) -> Option<Message> {
        let mut events = Vec::new();
        let is_sent = self.endpoint.notify(id, content(payload), confirmable, self.now, &mut events);
        self.events.extend(events);
        is_sent.then(|| self.sent().pop().unwrap())
    }

    fn delivered(&mut self) -> usize {
        let count = self.events.iter().filter(|event| matches!(event, Event::Delivered)).count();
        self.events.retain(|event| !matches!(event, Event::Delivered));
        count
    }

    fn cancelled(&mut self) -> Vec<ObservationId> {
        let cancelled = |event: Event| match event {
            Event::Cancelled(id) => Some(id),
            _ => None,
        };
        self.events.drain(..).filter_map(cancelled).collect()
    }
}

fn sequence(message: &Message) -> u32 {
    message.first(option::OBSERVE).and_then(option::uint).unwrap()
}

#[test]
fn notifications_have_the_token_of_the_request_and_an_order() {
    let mut client = Client::new();
    let (id, request, answer) = client.observe(&["a"]);
    assert_eq!(answer.code, Code::CONTENT);
    let mut before = sequence(&answer);
    for number in 0..5_u8 {
        let notification = client.notify(id, vec![number], true).unwrap();
        assert_eq!((notification.kind, &notification.token), (Kind::Confirmable, &request.token));
        assert!(sequence(&notification) > before);
        before = sequence(&notification);
        assert!(!client.endpoint.may_notify(), "the next waits until this one is taken");
        client.acknowledge(&notification);
        assert!(client.endpoint.may_notify());
        assert_eq!(client.delivered(), 1);
    }
    let notification = client.notify(id, "x", false).unwrap();
    assert_eq!((notification.kind, client.delivered()), (Kind::NonConfirmable, 1));
}

#[test]
fn a_notification_is_sent_until_it_is_taken_or_the_client_is_gone() {
    let mut client = Client::new();
    let (id, ..) = client.observe(&["a"]);
    let notification = client.notify(id, "x", true).unwrap();
    assert_eq!(client.wait(3), std::slice::from_ref(&notification));
    client.acknowledge(&notification);
    assert_eq!((client.delivered(), client.wait(60)), (1, vec![]));
    client.notify(id, "y", true).unwrap();
    for _ in 0..40 {
        client.wait(4);
    }
    assert!(matches!(client.events.pop(), Some(Event::Gone)));
}

#[test]
fn a_client_ends_an_observation_in_three_ways() {
    // By a request with the same token (RFC 7641 §3.6).
    let mut client = Client::new();
    let (id, request, _) = client.observe(&["a"]);
    let mut end = client.get(&["a"]);
    end.token = request.token.clone();
    end.options.insert(0, (option::OBSERVE, vec![1]));
    client.send(&end);
    assert_eq!(client.cancelled(), [id]);
    assert!(client.notify(id, "x", true).is_none() && !client.endpoint.is_observing());

    // By a reset of a notification that must be acknowledged, and of one that needs not.
    for confirmable in [true, false] {
        let mut client = Client::new();
        let (id, ..) = client.observe(&["a"]);
        let notification = client.notify(id, "x", confirmable).unwrap();
        client.delivered();
        client.reset(&notification);
        assert_eq!(client.delivered(), usize::from(confirmable));
        assert_eq!(client.cancelled(), [id]);
        assert!(client.endpoint.may_notify() && client.wait(100).is_empty());
    }
}

#[test]
fn a_second_request_with_the_same_token_takes_the_place_of_the_first() {
    let mut client = Client::new();
    let (first, request, _) = client.observe(&["a"]);
    let other = client.observe(&["a"]).0;
    let mut again = client.get(&["a"]);
    again.token = request.token.clone();
    again.options.insert(0, (option::OBSERVE, Vec::new()));
    client.send(&again);
    let (exchange, _) = client.request();
    let mut events = Vec::new();
    let second = client.endpoint.observe(exchange, content(""), client.now, &mut events).unwrap();
    client.events.extend(events);
    client.sent();
    assert_eq!(client.cancelled(), [first]);
    assert_eq!(client.endpoint.observations(), [other, second]);
}

#[test]
fn a_long_notification_is_taken_when_its_last_block_is_read() {
    let mut client = Client::new();
    let (id, request, _) = client.observe(&["a"]);
    let body: Vec<u8> = (0..3_000).map(|index| index as u8).collect();
    let first = client.notify(id, body.clone(), true).unwrap();
    assert_eq!((first.payload.len(), sequence(&first) > 0), (1_024, true));
    client.acknowledge(&first);
    assert_eq!(client.delivered(), 0);
    assert!(!client.endpoint.may_notify(), "another state would mix with this one");
    let mut read = first.payload.clone();
    for number in 1..3 {
        // With another token, and without the option Observe.
        let mut next = client.get(&["a"]);
        next.add(option::BLOCK2, Block { number, more: false, exponent: 6 }.write());
        let answer = client.send(&next).pop().unwrap();
        assert_ne!(answer.token, request.token);
        assert_eq!(answer.first(option::ETAG), first.first(option::ETAG));
        read.extend(&answer.payload);
    }
    assert_eq!((read, client.delivered()), (body.clone(), 1));

    // One that does not want the rest is not waited for for ever.
    let first = client.notify(id, body, true).unwrap();
    client.acknowledge(&first);
    client.wait(15);
    assert!(client.delivered() == 1 && client.endpoint.may_notify());
}

#[test]
fn the_hub_ends_an_observation_by_a_failure() {
    let mut client = Client::new();
    let (id, request, _) = client.observe(&["a"]);
    client.endpoint.end(id, Response::of(Code::UNAUTHORIZED));
    let last = client.sent().pop().unwrap();
    assert_eq!((last.code, &last.token, last.first(option::OBSERVE)), (Code::UNAUTHORIZED, &request.token, None));
    assert!(!client.endpoint.is_observing());
}

#[test]
fn every_notification_arrives_in_order_over_a_network_that_loses() {
    for seed in 1..20 {
        let mut client = Client::new();
        let (id, ..) = client.observe(&["a"]);
        let mut network = Network::new(seed);
        let (mut got, mut latest) = (Vec::<u8>::new(), 0);
        for number in 0..30_u8 {
            let notification = client.notify(id, vec![number], true).unwrap();
            network.put(codec::encode(&notification));
            while !client.endpoint.may_notify() {
                while let Some(datagram) = network.on_the_way.pop_front() {
                    let message = codec::decode(&datagram).unwrap();
                    if sequence(&message) > latest {
                        latest = sequence(&message);
                        got.extend(&message.payload);
                    }
                    if !network.chance(15) {
                        client.acknowledge(&message);
                    }
                }
                for again in client.wait(1) {
                    network.put(codec::encode(&again));
                }
                let gone = client.events.iter().any(|event| matches!(event, Event::Gone));
                if gone {
                    break;
                }
            }
            if client.events.iter().any(|event| matches!(event, Event::Gone)) {
                break;
            }
        }
        let expected: Vec<u8> = (0..got.len() as u8).collect();
        assert_eq!(got, expected, "seed {seed}");
        assert!(got.len() == 30 || client.events.iter().any(|event| matches!(event, Event::Gone)), "seed {seed}");
    }
}
