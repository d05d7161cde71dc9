//! Answers: in the acknowledgement of the request where that still goes, and in blocks where they are long.

use std::time::Instant;

use bytes::Bytes;

use super::{
    Endpoint, Exchange, ExchangeId,
    download::{Representation, etag},
    transmission::{Answered, What},
};
use crate::{
    codec::{self, Kind, Message, Token, block::Block, option},
    codes::Code,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub code: Code,
    pub options: Vec<(u16, Vec<u8>)>,
    pub payload: Bytes,
}

impl Response {
    pub fn of(code: Code) -> Self {
        Self { code, options: Vec::new(), payload: Bytes::new() }
    }

    /// A refusal that says why (RFC 7252 §5.5.2).
    pub fn refusal(code: Code, why: &str) -> Self {
        let end = why.char_indices().map(|(index, _)| index).take_while(|index| *index <= 200).last().unwrap_or(0);
        let why = if why.len() > 200 { why.get(..end).unwrap_or_default() } else { why };
        Self { payload: Bytes::copy_from_slice(why.as_bytes()), ..Self::of(code) }
    }

    #[must_use]
    pub fn with(mut self, number: u16, value: impl Into<Vec<u8>>) -> Self {
        self.options.push((number, value.into()));
        self
    }

    pub(crate) fn message(self, kind: Kind, id: u16, token: &Token) -> Message {
        let mut message = Message::new(kind, self.code, id);
        message.token.clone_from(token);
        message.options = self.options;
        message.options.sort_by_key(|(number, _)| *number);
        message.payload = self.payload.to_vec();
        message
    }
}

impl Endpoint {
    /// Answers a request. Nothing happens if it was answered.
    pub fn respond(&mut self, exchange: ExchangeId, response: Response, now: Instant) {
        let Some(index) = self.exchanges.iter().position(|open| open.id == exchange) else { return };
        let exchange = self.exchanges.remove(index);
        let mut response = self.in_blocks(&exchange, response);
        if let Some(block) = exchange.block1 {
            let block = Block { more: false, exponent: block.exponent.min(self.limits.block), ..block };
            response.options.push((option::BLOCK1, block.write()));
        }
        if exchange.confirmable && exchange.acknowledge_at.is_none() {
            let id = self.transmissions.next_id();
            let bytes = codec::encode(&response.message(Kind::Confirmable, id, &exchange.token));
            self.transmissions.send(id, bytes.clone(), Answered { what: What::Response, in_blocks: false }, now);
            self.out.push_back(bytes);
        } else {
            self.send_reply(exchange.confirmable, exchange.message_id, &exchange.token, response);
        }
    }

    /// Answers a message that was given to nobody.
    pub(super) fn refuse(&mut self, message: &Message, response: Response) {
        self.send_reply(message.kind == Kind::Confirmable, message.id, &message.token, response);
    }

    fn send_reply(&mut self, confirmable: bool, request: u16, token: &Token, response: Response) {
        let bytes = if confirmable {
            codec::encode(&response.message(Kind::Acknowledgement, request, token))
        } else {
            let id = self.transmissions.next_id();
            codec::encode(&response.message(Kind::NonConfirmable, id, token))
        };
        if confirmable {
            self.received.replied(request, &bytes);
        }
        self.out.push_back(bytes);
    }

    /// The block of it that was asked for, or the first; all of it where that fits.
    fn in_blocks(&mut self, exchange: &Exchange, response: Response) -> Response {
        if exchange.is_get && response.code == Code::CONTENT && !exchange.etags.is_empty() {
            let etag = etag(&response.payload);
            if exchange.etags.iter().any(|known| known.as_slice() == etag.as_slice()) {
                return Response::of(Code::VALID).with(option::ETAG, etag);
            }
        }
        let wanted = exchange.block2.unwrap_or(Block { number: 0, more: false, exponent: self.limits.block });
        let size = Block { exponent: wanted.exponent.min(self.limits.block), ..wanted }.size();
        if response.payload.len() <= size && wanted.number == 0 || response.code.is_failure() {
            return response;
        }
        let Response { code, options, payload } = response;
        let representation = Representation { key: exchange.key.clone(), code, options, body: payload };
        let (response, last) = representation.slice(wanted, self.limits.block);
        if !last {
            self.representations.keep(representation);
        }
        response
    }
}
