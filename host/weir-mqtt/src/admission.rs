//! How many connections are open, in all and from one address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::Mutex;
use weir_broker::{Limits, Metrics};

/// Counts the connections of all listeners that share it. Cloning shares the count.
#[derive(Debug, Clone)]
pub struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    metrics: Metrics,
    connections: usize,
    connections_per_address: usize,
    /// Guards counts for as long as one map entry takes.
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    admitted: u64,
    by_origin: HashMap<IpAddr, usize>,
}

/// A connection's place among those that are open. Dropping it frees it.
#[derive(Debug)]
pub(crate) struct Place {
    inner: Arc<Inner>,
    origin: IpAddr,
    number: u64,
}

impl Admission {
    pub fn new(limits: &Limits, metrics: &Metrics) -> Self {
        Self(Arc::new(Inner {
            metrics: metrics.clone(),
            connections: limits.connections,
            connections_per_address: limits.connections_per_address,
            open: Mutex::default(),
        }))
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.0.open.lock().total
    }

    /// A place for a connection from `address`, or none, counted, where a limit is reached.
    pub(crate) fn admit(&self, address: IpAddr) -> Option<Place> {
        let origin = origin(address);
        let inner = &self.0;
        let refused = {
            let mut open = inner.open.lock();
            let from_origin = open.by_origin.get(&origin).copied().unwrap_or(0);
            if open.total >= inner.connections {
                "connections"
            } else if from_origin >= inner.connections_per_address {
                "connections_per_address"
            } else {
                open.total += 1;
                open.admitted += 1;
                open.by_origin.insert(origin, from_origin + 1);
                inner.metrics.connection_opened();
                return Some(Place { inner: Arc::clone(inner), origin, number: open.admitted });
            }
        };
        inner.metrics.refused_for("mqtt_accept", refused);
        None
    }
}

impl Place {
    /// A number that no other connection of these listeners had.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.inner.open.lock();
        open.total = open.total.saturating_sub(1);
        if let Some(count) = open.by_origin.get_mut(&self.origin) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.by_origin.remove(&self.origin);
            }
        }
        self.inner.metrics.connection_closed();
    }
}

/// What one peer holds: an IPv4 address, or a network of 64 bits in IPv6, where single addresses cost nothing.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections: usize, connections_per_address: usize) -> Admission {
        let limits = Limits { connections, connections_per_address, ..Limits::default() };
        Admission::new(&limits, &Metrics::default())
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let admission = admission(2, 9);
        let first = admission.admit("192.0.2.1".parse().unwrap()).unwrap();
        let _second = admission.admit("192.0.2.1".parse().unwrap()).unwrap();
        assert!(admission.admit("192.0.2.2".parse().unwrap()).is_none());
        drop(first);
        assert!(admission.admit("192.0.2.2".parse().unwrap()).is_some());
    }

    #[test]
    fn one_origin_cannot_take_every_place() {
        let admission = admission(9, 1);
        let _place = admission.admit("2001:db8::1".parse().unwrap()).unwrap();
        assert!(admission.admit("2001:db8::2".parse().unwrap()).is_none());
        assert!(admission.admit("2001:db8:0:1::1".parse().unwrap()).is_some());
        let _place = admission.admit("192.0.2.1".parse().unwrap()).unwrap();
        assert!(admission.admit("::ffff:192.0.2.1".parse().unwrap()).is_none());
    }
}
