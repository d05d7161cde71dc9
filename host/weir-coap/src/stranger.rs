//! Datagrams of peers of whom nothing is known: what is answered at once, and what may prove who they are.
//!
//! Nothing is kept: each datagram is answered by itself, by one that is hardly longer.

use crate::{
    codec::{self, Kind, Message},
    codes::Code,
    endpoint::Response,
    request::{self, Shown},
};

/// What to do with a datagram.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// To be sent, counted for this reason where it is a refusal.
    Answer(Vec<u8>, Option<&'static str>),
    /// It shows a token. If that is good, the sender is a peer; if not, this is the answer.
    Proof(Shown, Box<Message>),
    Nothing(&'static str),
}

pub(crate) fn judge(datagram: &[u8]) -> Verdict {
    let message = match codec::decode(datagram) {
        Ok(message) => message,
        Err(malformed) => {
            return match malformed.confirmable {
                Some(id) => Verdict::Answer(codec::encode(&Message::empty(Kind::Reset, id)), Some("malformed")),
                None => Verdict::Nothing("malformed"),
            };
        }
    };
    match (message.kind, message.code) {
        (Kind::Confirmable, code) if !code.is_request() => {
            Verdict::Answer(codec::encode(&Message::empty(Kind::Reset, message.id)), None)
        }
        (Kind::Confirmable | Kind::NonConfirmable, code) if code.is_request() => {
            if request::is_discovery(&message) {
                return Verdict::Answer(answer(&message, request::links()), None);
            }
            match request::shown(&message) {
                Some(shown) => Verdict::Proof(shown, Box::new(message)),
                None => {
                    let why = "show a token of the device: ?token=TOKEN, or come by DTLS";
                    let refusal = Response::refusal(Code::UNAUTHORIZED, why);
                    Verdict::Answer(answer(&message, refusal), Some("unauthenticated"))
                }
            }
        }
        // Of an earlier peer at this address, perhaps.
        _ => Verdict::Nothing("unexpected"),
    }
}

/// The answer to a request, without a state: a client that asks again is answered again.
pub(crate) fn answer(message: &Message, response: Response) -> Vec<u8> {
    let kind = match message.kind {
        Kind::Confirmable => Kind::Acknowledgement,
        _ => Kind::NonConfirmable,
    };
    codec::encode(&response.message(kind, message.id, &message.token))
}
