//! Bodies in blocks. Facts about a library that does it wrong are each a test here: an old upload's bytes in a new body, gaps
//! that are filled with zeros, numbers above 4095, a cache that forgets the query, a crash by one datagram.

use super::*;

const LIMIT: usize = 64 * 1024;

fn client() -> Client {
    Client::with(EndpointLimits { body: LIMIT, ..EndpointLimits::default() })
}

fn body(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 % 251) as u8).collect()
}

impl Client {
    /// Sends one block of a body.
    fn block(&mut self, path: &[&str], number: u32, more: bool, exponent: u8, payload: &[u8]) -> Option<Message> {
        let mut message = self.message(Kind::Confirmable, Code::PUT, path);
        message.add(option::BLOCK1, Block { number, more, exponent }.write());
        message.payload = payload.to_vec();
        self.send(&message).pop()
    }

    fn upload(&mut self, path: &[&str], body: &[u8], exponent: u8) -> Message {
        let size = 16 << exponent;
        let last = body.len().div_ceil(size) - 1;
        for (number, chunk) in body.chunks(size).enumerate() {
            let answer = self.block(path, number as u32, number < last, exponent, chunk);
            assert_eq!(answer.map(|answer| answer.code), (number < last).then_some(Code::CONTINUE), "block {number}");
        }
        self.request().1
    }

    fn read_block(&mut self, path: &[&str], query: &str, number: u32, exponent: u8) -> Message {
        let mut message = self.get(path);
        message.add(option::URI_QUERY, query);
        message.add(option::BLOCK2, Block { number, more: false, exponent }.write());
        match self.send(&message).pop() {
            Some(answer) => answer,
            None => {
                let (exchange, _) = self.request();
                self.respond(exchange, content(body(5_000)))
            }
        }
    }
}

#[test]
fn a_body_in_blocks_is_one_request() {
    let mut client = client();
    for (length, exponent) in [(1_025, 6), (5_000, 2), (50_000, 6), (LIMIT, 0), (17, 0), (2_048, 6)] {
        let body = body(length);
        let request = client.upload(&["a"], &body, exponent);
        assert!(request.payload == body, "{length} bytes in blocks of {}", 16 << exponent);
    }
    // 4,096 blocks of 16 bytes: numbers need more than twelve bits.
    let (exchange, _) = {
        let body = body(LIMIT);
        for (number, chunk) in body.chunks(16).enumerate() {
            client.block(&["b"], number as u32, number < 4_095, 0, chunk);
        }
        client.request()
    };
    let answer = client.respond(exchange, Response::of(Code::CHANGED));
    let block = Block { number: 4_095, more: false, exponent: 0 };
    assert_eq!(answer.first(option::BLOCK1), Some(&block.write()[..]));
}

#[test]
fn a_body_that_begins_anew_has_nothing_of_the_one_before() {
    let mut client = client();
    client.block(&["a"], 0, true, 2, &[1; 64]).unwrap();
    client.block(&["a"], 1, true, 2, &[1; 64]).unwrap();
    let request = client.upload(&["a"], &[2; 74], 2);
    assert_eq!(request.payload, [2; 74]);
}

#[test]
fn a_gap_is_refused() {
    let mut client = client();
    client.block(&["a"], 0, true, 2, &[1; 64]).unwrap();
    let answer = client.block(&["a"], 3, false, 2, &[1; 10]).unwrap();
    assert_eq!(answer.code, Code::INCOMPLETE);
    // Another path, and one without a beginning.
    assert_eq!(client.block(&["b"], 1, true, 2, &[1; 64]).unwrap().code, Code::INCOMPLETE);
    // The block that follows is still taken; one that is there already changes nothing.
    assert_eq!(client.block(&["a"], 1, true, 2, &[2; 64]).unwrap().code, Code::CONTINUE);
    assert_eq!(client.block(&["a"], 0, true, 2, &[1; 64]).unwrap().code, Code::CONTINUE);
    assert!(client.events.is_empty());
}

#[test]
fn a_body_that_is_too_long_is_refused_early() {
    let mut client = client();
    let mut message = client.message(Kind::Confirmable, Code::PUT, &["a"]);
    message.add(option::BLOCK1, Block { number: 0, more: true, exponent: 6 }.write());
    message.add(option::SIZE1, option::of_uint(LIMIT as u32 + 1));
    message.payload = vec![0; 1_024];
    let answer = client.send(&message).pop().unwrap();
    assert_eq!(answer.code, Code::TOO_LARGE);
    assert_eq!(answer.first(option::SIZE1).and_then(option::uint), Some(LIMIT as u32));
    for number in 0..64 {
        assert_eq!(client.block(&["b"], number, true, 6, &[0; 1_024]).unwrap().code, Code::CONTINUE);
    }
    assert_eq!(client.block(&["b"], 64, true, 6, &[0; 1_024]).unwrap().code, Code::TOO_LARGE);
    assert_eq!(client.block(&["b"], 1_048_575, false, 6, &[0; 1]).unwrap().code, Code::TOO_LARGE);
    assert!(client.events.is_empty());
}

#[test]
fn a_block_has_the_size_that_it_says() {
    let mut client = client();
    assert_eq!(client.block(&["a"], 0, true, 2, &[0; 63]).unwrap().code, Code::BAD_REQUEST);
    assert_eq!(client.block(&["a"], 0, false, 2, &[0; 65]).unwrap().code, Code::BAD_REQUEST);
    let mut reserved = client.message(Kind::Confirmable, Code::PUT, &["a"]);
    reserved.add(option::BLOCK1, [0x0f]);
    assert_eq!(client.send(&reserved).pop().unwrap().code, Code::BAD_OPTION);
}

#[test]
fn an_upload_that_stops_is_forgotten() {
    let mut client = client();
    client.block(&["a"], 0, true, 2, &[1; 64]).unwrap();
    assert!(client.endpoint.deadline().is_some());
    client.wait(300);
    assert_eq!(client.endpoint.deadline(), None);
    assert_eq!(client.block(&["a"], 1, false, 2, &[1; 64]).unwrap().code, Code::INCOMPLETE);
}

#[test]
fn a_long_answer_is_read_in_blocks_of_one_state() {
    let mut client = client();
    for exponent in [0, 2, 6] {
        let (mut read, mut number, mut etag) = (Vec::<u8>::new(), 0, None);
        loop {
            let answer = client.read_block(&["a"], "x", number, exponent);
            let block = Block::read(answer.first(option::BLOCK2).unwrap()).unwrap();
            assert_eq!((block.number, block.exponent), (number, exponent));
            let size = answer.first(option::SIZE2).and_then(option::uint);
            assert_eq!(size, (number == 0).then_some(5_000));
            let tag = answer.first(option::ETAG).unwrap().to_vec();
            assert_eq!(*etag.get_or_insert_with(|| tag.clone()), tag);
            read.extend(&answer.payload);
            number += 1;
            if !block.more {
                break;
            }
        }
        assert!(read == body(5_000), "in blocks of {}", 16 << exponent);
    }
    assert_eq!(client.read_block(&["a"], "x", 400, 6).code, Code::BAD_REQUEST);
}

#[test]
fn another_query_is_another_resource() {
    let mut client = client();
    client.read_block(&["d"], "id=1", 0, 6);
    let mut message = client.get(&["d"]);
    message.add(option::URI_QUERY, "id=2");
    message.add(option::BLOCK2, Block { number: 0, more: false, exponent: 6 }.write());
    assert_eq!(client.send(&message), []);
    let (exchange, _) = client.request();
    let answer = client.respond(exchange, content(vec![9; 2_000]));
    assert_eq!(answer.payload, [9; 1_024]);
    assert_eq!(client.read_block(&["d"], "id=1", 1, 6).payload, body(5_000)[1_024..2_048]);
}

#[test]
fn who_has_the_newest_state_is_told_so() {
    let mut client = client();
    let request = client.get(&["a"]);
    client.send(&request);
    let (exchange, _) = client.request();
    let first = client.respond(exchange, content(body(2_000)));
    let mut request = client.get(&["a"]);
    request.options.insert(0, (option::ETAG, first.first(option::ETAG).unwrap().to_vec()));
    client.send(&request);
    let (exchange, _) = client.request();
    let answer = client.respond(exchange, content(body(2_000)));
    assert_eq!((answer.code, answer.payload.len()), (Code::VALID, 0));
}

#[test]
fn a_block_option_beside_long_options_does_no_harm() {
    for padding in 1_100..1_160 {
        let mut client = client();
        let mut message = client.message(Kind::Confirmable, Code::PUT, &["a"]);
        let mut left = padding;
        while left > 0 {
            let length = left.min(255);
            message.add(option::URI_QUERY, vec![b'x'; length]);
            left -= length;
        }
        message.add(option::BLOCK1, Block { number: 0, more: true, exponent: 6 }.write());
        message.payload = vec![0; 64];
        assert_eq!(client.send(&message).pop().unwrap().code, Code::BAD_REQUEST);
    }
}

#[test]
fn bodies_come_whole_over_a_network_that_loses_and_doubles() {
    for seed in 1..20 {
        let mut client = client();
        let mut network = Network::new(seed);
        let body = body(50_000);
        let last = body.len().div_ceil(1_024) - 1;
        let mut whole = Vec::new();
        for (number, chunk) in body.chunks(1_024).enumerate() {
            let mut message = client.message(Kind::Confirmable, Code::PUT, &["a"]);
            message.add(option::BLOCK1, Block { number: number as u32, more: number < last, exponent: 6 }.write());
            message.payload = chunk.to_vec();
            // The client sends until it is answered.
            let mut answered = false;
            while !answered {
                network.put(codec::encode(&message));
                while let Some(datagram) = network.on_the_way.pop_front() {
                    client.endpoint.receive(&datagram, client.now, &mut client.events).unwrap();
                    for event in std::mem::take(&mut client.events) {
                        if let Event::Request { exchange, message } = event {
                            whole.push(message.payload);
                            client.endpoint.respond(exchange, Response::of(Code::CHANGED), client.now);
                        }
                    }
                }
                let answers = client.sent();
                answered = answers.iter().any(|answer| answer.id == message.id && !network.chance(15));
            }
        }
        assert!(whole.len() == 1 && whole[0] == body, "seed {seed}");
    }
}
