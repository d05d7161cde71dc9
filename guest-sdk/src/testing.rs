//! What stands for the hub in native tests: servers that answer as the test says, on this thread.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
};

use crate::{
    Rows,
    bindings::weir::plugin::types::{Batch, Bytes, Column, Values},
    http, kv, tcp,
};

type Server = Box<dyn FnMut(&http::Request) -> Result<http::Response, http::Error>>;
type Listener = Box<dyn FnMut(&[u8]) -> Vec<u8>>;

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
    static LISTENER: RefCell<Option<Listener>> = const { RefCell::new(None) };
    static VALUES: RefCell<BTreeMap<String, Vec<u8>>> = const { RefCell::new(BTreeMap::new()) };
    static LOG: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static NOW: Cell<i64> = const { Cell::new(1_700_000_000_000) };
}

/// Answers every request by HTTP of this thread.
pub fn serve_http(server: impl FnMut(&http::Request) -> Result<http::Response, http::Error> + 'static) {
    SERVER.with(|slot| *slot.borrow_mut() = Some(Box::new(server)));
}

/// Answers what this thread sends by TCP: bytes in, bytes out.
pub fn serve_tcp(listener: impl FnMut(&[u8]) -> Vec<u8> + 'static) {
    LISTENER.with(|slot| *slot.borrow_mut() = Some(Box::new(listener)));
}

/// Nobody listens on TCP any more.
pub fn stop_tcp() {
    LISTENER.with(|slot| *slot.borrow_mut() = None);
}

/// Sets the clock, in milliseconds since 1970.
pub fn set_now(now: i64) {
    NOW.with(|clock| clock.set(now));
}

/// The lines logged so far, as `level: message`.
pub fn log() -> Vec<String> {
    LOG.with(|log| log.borrow().clone())
}

/// Rows of a rule `test`, from device `dev` of product `A1B2C3D4E5`, with these payloads.
pub fn rows(payloads: &[&str]) -> Rows {
    let count = payloads.len();
    let places = || 0..i64::try_from(count).unwrap_or_default();
    let same = |text: &'static str| payloads.iter().map(move |_| text);
    Rows::new(Batch {
        rows: u32::try_from(count).unwrap_or_default(),
        columns: vec![
            column("offset", Values::Int64(places().collect())),
            column("rule", Values::Utf8(texts(same("test")))),
            column("row", Values::Int64(vec![0; count])),
            column("time", Values::Timestamp(places().map(|place| 1_700_000_000_000 + place).collect())),
            column("topic", Values::Utf8(texts(same("A1B2C3D4E5/dev/event")))),
            column("product", Values::Utf8(texts(same("A1B2C3D4E5")))),
            column("device", Values::Utf8(texts(same("dev")))),
            column("qos", Values::Int64(vec![1; count])),
            column("payload", Values::Binary(texts(payloads.iter().copied()))),
        ],
    })
}

fn column(name: &str, values: Values) -> Column {
    Column { name: name.to_owned(), validity: None, values }
}

fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> Bytes {
    let mut bytes = Bytes { offsets: vec![0], data: Vec::new() };
    for text in texts {
        bytes.data.extend_from_slice(text.as_bytes());
        bytes.offsets.push(u32::try_from(bytes.data.len()).unwrap_or(u32::MAX));
    }
    bytes
}

pub(crate) fn answer(request: http::Request) -> Result<http::Response, http::Error> {
    SERVER.with(|slot| match slot.borrow_mut().as_mut() {
        Some(server) => server(&request),
        None => Err(http::Error::Failed("no server: call weir_guest::testing::serve_http first".to_owned())),
    })
}

pub(crate) fn with_values<T>(
    work: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> Result<T, kv::Error>,
) -> Result<T, kv::Error> {
    VALUES.with(|values| work(&mut values.borrow_mut()))
}

pub(crate) fn logged(level: &str, message: String) {
    LOG.with(|log| log.borrow_mut().push(format!("{level}: {message}")));
}

pub(crate) fn now() -> i64 {
    NOW.with(Cell::get)
}

/// The other side of a connection.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    answered: VecDeque<u8>,
}

pub(crate) fn connect(_address: &str) -> Result<Peer, tcp::Error> {
    match LISTENER.with(|slot| slot.borrow().is_some()) {
        true => Ok(Peer::default()),
        false => Err(tcp::Error::Failed("connection refused".to_owned())),
    }
}

impl Peer {
    pub(crate) fn send(&mut self, data: &[u8]) -> Result<(), tcp::Error> {
        let answer = LISTENER.with(|slot| slot.borrow_mut().as_mut().map(|listener| listener(data)));
        self.answered.extend(answer.ok_or_else(|| tcp::Error::Failed("connection reset".to_owned()))?);
        Ok(())
    }

    pub(crate) fn receive(&mut self, limit: u32) -> Result<Vec<u8>, tcp::Error> {
        let count = self.answered.len().min(limit as usize);
        Ok(self.answered.drain(..count).collect())
    }
}
