use std::collections::VecDeque;

use bytes::Bytes;

use super::*;

mod arbitrary;
mod blocks;
mod observing;

/// A client of one endpoint, with time to turn.
struct Client {
    endpoint: Endpoint,
    now: Instant,
    events: Vec<Event>,
    id: u16,
}

impl Client {
    fn new() -> Self {
        Self::with(EndpointLimits::default())
    }

    fn with(limits: EndpointLimits) -> Self {
        Self { endpoint: Endpoint::new(limits, 7), now: Instant::now(), events: Vec::new(), id: 100 }
    }

    fn message(&mut self, kind: Kind, code: Code, path: &[&str]) -> Message {
        self.id += 1;
        let mut message = Message::new(kind, code, self.id);
        message.token = Token::from_slice(&self.id.to_be_bytes());
        path.iter().for_each(|segment| message.add(option::URI_PATH, *segment));
        message
    }

    fn get(&mut self, path: &[&str]) -> Message {
        self.message(Kind::Confirmable, Code::GET, path)
    }

    /// Sends, and gives what comes back.
    fn send(&mut self, message: &Message) -> Vec<Message> {
        self.endpoint.receive(&codec::encode(message), self.now, &mut self.events).unwrap();
        self.sent()
    }

    fn sent(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.endpoint.transmit()).map(|bytes| codec::decode(&bytes).unwrap()).collect()
    }

    /// The request that the last datagram made.
    fn request(&mut self) -> (ExchangeId, Message) {
        match self.events.drain(..).next_back() {
            Some(Event::Request { exchange, message }) => (exchange, message),
            other => panic!("no request: {other:?}"),
        }
    }

    fn respond(&mut self, exchange: ExchangeId, response: Response) -> Message {
        self.endpoint.respond(exchange, response, self.now);
        self.sent().pop().unwrap()
    }

    fn wait(&mut self, seconds: u64) -> Vec<Message> {
        self.now += Duration::from_secs(seconds);
        self.endpoint.elapsed(self.now, &mut self.events);
        self.sent()
    }

    fn acknowledge(&mut self, message: &Message) {
        self.send(&Message::empty(Kind::Acknowledgement, message.id));
    }

    fn reset(&mut self, message: &Message) {
        self.send(&Message::empty(Kind::Reset, message.id));
    }
}

fn content(payload: impl Into<Bytes>) -> Response {
    Response { payload: payload.into(), ..Response::of(Code::CONTENT) }
}

#[test]
fn an_answer_in_time_is_in_the_acknowledgement() {
    let mut client = Client::new();
    let request = client.get(&["a"]);
    assert_eq!(client.send(&request), []);
    let (exchange, asked) = client.request();
    assert_eq!(asked, request);
    let answer = client.respond(exchange, content("x"));
    assert_eq!((answer.kind, answer.id, &answer.token), (Kind::Acknowledgement, request.id, &request.token));
    // It is answered once, and the same again when it is asked again (RFC 7252 §4.5).
    client.endpoint.respond(exchange, content("y"), client.now);
    assert_eq!(client.sent(), []);
    assert_eq!(client.send(&request), [answer]);
    assert!(client.events.is_empty());
}

#[test]
fn a_request_that_is_sent_again_while_it_is_answered_is_done_once() {
    let mut client = Client::new();
    let request = client.get(&["a"]);
    client.send(&request);
    let (exchange, _) = client.request();
    assert_eq!(client.send(&request), []);
    assert!(client.events.is_empty());
    assert_eq!(client.respond(exchange, content("x")).kind, Kind::Acknowledgement);
}

#[test]
fn a_late_answer_is_a_message_of_its_own_and_sent_until_it_is_taken() {
    let mut client = Client::new();
    let request = client.get(&["a"]);
    client.send(&request);
    let (exchange, _) = client.request();
    let acknowledgement = client.wait(1);
    assert_eq!(acknowledgement, [Message::empty(Kind::Acknowledgement, request.id)]);
    assert_eq!(client.send(&request), acknowledgement);
    let answer = client.respond(exchange, content("x"));
    assert_eq!((answer.kind, &answer.token), (Kind::Confirmable, &request.token));
    assert_ne!(answer.id, request.id);
    assert_eq!(client.wait(1), []);
    assert_eq!(client.wait(3), std::slice::from_ref(&answer));
    assert_eq!(client.wait(6), std::slice::from_ref(&answer));
    client.acknowledge(&answer);
    assert_eq!(client.wait(100), []);
    assert_eq!(client.endpoint.deadline(), None);
}

#[test]
fn the_vendors_sdk_is_acknowledged_in_its_own_way() {
    let mut client = Client::new();
    let mut request = client.message(Kind::Confirmable, Code::POST, &["A1B2C3D4E5/dev/data"]);
    request.add(option::NEED_RESPONSE, "1");
    client.send(&request);
    let (exchange, _) = client.request();
    let acknowledgement = client.wait(1).pop().unwrap();
    assert_eq!((acknowledgement.kind, acknowledgement.code), (Kind::Acknowledgement, Code::VALID));
    assert_eq!((acknowledgement.id, &acknowledgement.token), (request.id, &request.token));
    let answer = client.respond(exchange, content(""));
    assert_eq!((answer.kind, answer.code, &answer.token), (Kind::Confirmable, Code::CONTENT, &request.token));
}

#[test]
fn nobody_waits_for_ever() {
    let mut client = Client::new();
    let request = client.get(&["a"]);
    client.send(&request);
    let (exchange, _) = client.request();
    client.wait(1);
    client.respond(exchange, content("x"));
    let again: usize = (0..100).map(|_| client.wait(3).len()).sum();
    assert_eq!(again, 4, "MAX_RETRANSMIT");
    assert_eq!(client.endpoint.deadline(), None);
}

#[test]
fn an_unconfirmable_request_is_answered_alike() {
    let mut client = Client::new();
    let request = client.message(Kind::NonConfirmable, Code::POST, &["a"]);
    client.send(&request);
    let (exchange, _) = client.request();
    assert_eq!(client.wait(2), []);
    let answer = client.respond(exchange, Response::of(Code::CHANGED));
    assert_eq!((answer.kind, &answer.token), (Kind::NonConfirmable, &request.token));
    // A duplicate is passed over.
    assert_eq!(client.send(&request), []);
}

#[test]
fn what_nobody_asked_for_is_rejected() {
    let mut client = Client::new();
    let ping = Message::empty(Kind::Confirmable, 5);
    assert_eq!(client.send(&ping), [Message::empty(Kind::Reset, 5)]);
    let response = Message::new(Kind::Confirmable, Code::CONTENT, 6);
    assert_eq!(client.send(&response), [Message::empty(Kind::Reset, 6)]);
    let reserved = Message::new(Kind::Confirmable, Code(0x20), 7);
    assert_eq!(client.send(&reserved), [Message::empty(Kind::Reset, 7)]);
    for kind in [Kind::NonConfirmable, Kind::Acknowledgement, Kind::Reset] {
        assert_eq!(client.send(&Message::new(kind, Code::CONTENT, 8)), []);
    }
    assert!(client.events.is_empty());
}

#[test]
fn options_are_understood_or_refused() {
    let check = |number: u16, value: &[u8], times: usize, expected: Option<Code>| {
        let mut client = Client::new();
        let mut request = client.get(&["a"]);
        (0..times).for_each(|_| request.add(number, value));
        request.options.sort_by_key(|(number, _)| *number);
        let answer = client.send(&request).pop().map(|answer| answer.code);
        assert_eq!(answer, expected, "option {number}");
        // RFC 7252 §5.4.1: without a place for 4.02, it is rejected.
        request.kind = Kind::NonConfirmable;
        request.id += 1;
        let answer = client.send(&request).pop().map(|answer| answer.kind);
        assert_eq!(answer, expected.map(|_| Kind::Reset), "option {number}");
    };
    check(option::URI_HOST, b"hub.example.org", 1, None);
    check(option::URI_HOST, b"", 1, Some(Code::BAD_OPTION));
    check(option::URI_PORT, &[0x16, 0x33], 1, None);
    check(option::URI_PORT, &[1], 2, Some(Code::BAD_OPTION));
    check(1, &[1], 1, Some(Code::BAD_OPTION)); // If-Match
    check(9, &[1], 1, Some(Code::BAD_OPTION)); // OSCORE
    check(2_049, &[1], 1, Some(Code::BAD_OPTION));
    check(2_050, &[1], 9, None);
    check(option::PROXY_URI, b"coap://elsewhere", 1, Some(Code::PROXYING));
    check(option::PROXY_SCHEME, b"coap", 1, Some(Code::PROXYING));
}

#[test]
fn a_ping_is_answered_or_the_peer_is_gone() {
    let mut client = Client::new();
    client.endpoint.ping(client.now);
    client.endpoint.ping(client.now);
    let pings = client.sent();
    assert_eq!(pings.len(), 1);
    client.reset(&pings[0]);
    assert!(matches!(client.events.drain(..).next(), Some(Event::Alive)));
    client.endpoint.ping(client.now);
    for _ in 0..30 {
        client.wait(4);
    }
    assert!(matches!(client.events.pop(), Some(Event::Gone)));
    assert_eq!(client.endpoint.deadline(), None);
}

#[test]
fn a_peer_asks_for_as_much_as_is_answered() {
    let mut client = Client::new();
    for _ in 0..EXCHANGES {
        let request = client.get(&["a"]);
        assert_eq!(client.send(&request), []);
    }
    let request = client.get(&["a"]);
    let answer = client.send(&request).pop().unwrap();
    assert_eq!((answer.code, answer.first(option::MAX_AGE)), (Code::UNAVAILABLE, Some(&[1][..])));
}

/// Datagrams that are lost, doubled and overtaken, by a seed.
#[derive(Debug)]
struct Network {
    random: u64,
    on_the_way: VecDeque<Vec<u8>>,
}

impl Network {
    fn new(seed: u64) -> Self {
        Self { random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, on_the_way: VecDeque::new() }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 100 < percent
    }

    fn put(&mut self, datagram: Vec<u8>) {
        if self.chance(15) {
            return;
        }
        if self.chance(10) {
            self.on_the_way.push_back(datagram.clone());
        }
        match self.chance(10) {
            true => self.on_the_way.push_front(datagram),
            false => self.on_the_way.push_back(datagram),
        }
    }
}
