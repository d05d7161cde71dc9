//! How many connections are open and how many come in a second, in all and from one address.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;
use tokio::time::Instant;
use weir_broker::{Bucket, Limits, Metrics, Origins, Rate, origin};

/// Counts the connections of all listeners that share it. Cloning shares the count.
#[derive(Debug, Clone)]
pub struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    metrics: Metrics,
    connections: usize,
    connections_per_address: usize,
    connects: Option<Rate>,
    connects_per_address: Option<Rate>,
    /// Guards counts for as long as a map entry or two take, and seldom a look at all of them.
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    admitted: u64,
    by_origin: HashMap<IpAddr, usize>,
    connects: Bucket,
    connects_by_origin: Origins,
}

impl Open {
    /// Takes a connect from the buckets, or names the limit that is reached.
    fn connect(&mut self, inner: &Inner, origin: IpAddr, now: Instant) -> Result<(), &'static str> {
        let own = self.connects_by_origin.bucket(origin);
        let take = |bucket: Bucket, rate: Option<Rate>| rate.map_or(Ok(bucket), |rate| bucket.take(rate, 1, now));
        // An origin that is over its own rate takes nothing from the others.
        let own = take(own, inner.connects_per_address).map_err(|_| "connect_rate_per_address")?;
        self.connects = take(self.connects, inner.connects).map_err(|_| "connect_rate")?;
        if inner.connects_per_address.is_some() {
            self.connects_by_origin.put(origin, own, now);
        }
        Ok(())
    }
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
            connects: limits.connects,
            connects_per_address: limits.connects_per_address,
            open: Mutex::default(),
        }))
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.0.open.lock().total
    }

    /// A place for a connection from `address`, or none, counted, where a limit is reached.
    pub(crate) fn admit(&self, address: IpAddr) -> Option<Place> {
        self.admit_at(address, Instant::now())
    }

    fn admit_at(&self, address: IpAddr, now: Instant) -> Option<Place> {
        let origin = origin(address);
        let inner = &self.0;
        let refused = {
            let mut open = inner.open.lock();
            let from_origin = open.by_origin.get(&origin).copied().unwrap_or(0);
            if open.total >= inner.connections {
                "connections"
            } else if from_origin >= inner.connections_per_address {
                "connections_per_address"
            } else if let Err(reached) = open.connect(inner, origin, now) {
                reached
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
    fn connects_have_a_rate_in_all_and_by_origin() {
        let limits = Limits { connects: Rate::new(1, 3), connects_per_address: Rate::new(1, 2), ..Limits::default() };
        let (metrics, start) = (Metrics::default(), Instant::now());
        let admission = Admission::new(&limits, &metrics);
        for (at, address, expected) in [
            (0, "192.0.2.1", true),
            (0, "192.0.2.1", true),
            (0, "192.0.2.1", false),
            // The refusal of the first origin took nothing from the rate of all.
            (0, "192.0.2.2", true),
            (0, "192.0.2.2", false),
            (1_000, "192.0.2.1", true),
            (1_000, "192.0.2.2", false),
            (2_000, "192.0.2.2", true),
        ] {
            let place = admission.admit_at(address.parse().unwrap(), start + Duration::from_millis(at));
            // A place that is free again is no connect that has not been.
            assert_eq!(place.is_some(), expected, "{address} at {at} ms");
        }
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
