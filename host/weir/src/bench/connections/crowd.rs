//! Many idle clients, each of which is nothing but an open socket.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};

use super::{Devices, door::Door};

/// Connections from one address: well below the 28,000 ports that Linux gives out.
const PER_ADDRESS: usize = 20_000;

/// How a crowd connects.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) address: SocketAddr,
    pub(super) door: Door,
    pub(super) keep_alive: u16,
    /// Connections that are being opened at one time.
    pub(super) at_once: usize,
    /// What each subscribes to, if it does.
    pub(super) topic: Option<fn(usize) -> String>,
}

#[derive(Debug)]
pub(super) struct Crowd {
    open: Vec<TcpStream>,
    /// From the first connect to the last CONNACK.
    pub(super) elapsed: Duration,
    /// Microseconds from connecting until a client has all its answers.
    pub(super) latencies: Vec<u32>,
    /// Why connects failed, and how many for each reason.
    pub(super) errors: BTreeMap<String, usize>,
}

impl Crowd {
    /// Opens a connection for each device. One that fails is counted, and not tried again.
    pub(super) async fn gather(opening: &Opening, devices: Devices) -> Self {
        let began = Instant::now();
        let sources = Sources::new();
        let opened = stream::iter(devices.into_iter().enumerate()).map(|(number, (login, key))| {
            let source = sources.of(number);
            async move {
                let began = Instant::now();
                let topic = opening.topic.map(|topic| topic(number));
                let opened = opening.door.open(opening, source, &login, key.as_ref(), topic.as_deref()).await;
                opened.map(|stream| (stream, u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX)))
            }
        });
        let mut opened = opened.buffer_unordered(opening.at_once);
        let mut crowd =
            Self { open: Vec::new(), elapsed: Duration::ZERO, latencies: Vec::new(), errors: BTreeMap::new() };
        while let Some(ended) = opened.next().await {
            match ended {
                Ok((stream, latency)) => {
                    crowd.open.push(stream);
                    crowd.latencies.push(latency);
                }
                Err(error) => *crowd.errors.entry(format!("{:#}", error)).or_default() += 1,
            }
        }
        crowd.elapsed = began.elapsed();
        crowd
    }

    /// How many are still connected, and how many the broker has closed.
    pub(super) fn count_open(&self) -> (usize, usize) {
        let open = self.open.iter().filter(|stream| is_open(stream)).count();
        (open, self.open.len() - open)
    }

    /// Closes every connection at once, as when the network goes away.
    pub(super) fn leave(mut self) -> Self {
        self.open = Vec::new();
        self
    }
}

/// Whether nobody has closed it: nothing to read, or something.
fn is_open(stream: &TcpStream) -> bool {
    match stream.peek(&mut [0]) {
        Ok(read) => read > 0,
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}

/// Addresses to connect from. A network of loopback that no earlier run has used: its ports may rest still.
#[derive(Debug)]
struct Sources([u8; 2]);

impl Sources {
    fn new() -> Self {
        let mut network = [0; 2];
        // Without randomness it is always the same network, which is as good as long as no run follows another.
        let _filled = getrandom::fill(&mut network);
        Self(network)
    }

    fn of(&self, number: usize) -> Ipv4Addr {
        let Self([second, third]) = *self;
        // 127.0.0.0/16 is left to others.
        Ipv4Addr::new(
            127,
            second.max(1),
            third,
            u8::try_from(number / PER_ADDRESS).unwrap_or(u8::MAX).saturating_add(1),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_has_more_connections_than_ports() {
        let sources = Sources([7, 9]);
        assert_eq!(sources.of(0), Ipv4Addr::new(127, 7, 9, 1));
        assert_eq!(sources.of(19_999), Ipv4Addr::new(127, 7, 9, 1));
        assert_eq!(sources.of(20_000), Ipv4Addr::new(127, 7, 9, 2));
        assert_eq!(sources.of(999_999), Ipv4Addr::new(127, 7, 9, 50));
        assert_eq!(Sources([0, 0]).of(0), Ipv4Addr::new(127, 1, 0, 1));
    }

    #[test]
    fn a_connection_that_the_other_side_closed_is_not_open() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (other, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        assert!(is_open(&stream));
        drop(other);
        stream.set_nonblocking(false).unwrap();
        assert!(!is_open(&stream));
    }
}
