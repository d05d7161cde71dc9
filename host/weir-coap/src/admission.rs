//! How many peers there may be, in all and from one address, and how often strangers may come.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;
use tokio::time::Instant;
use weir_broker::{Bucket, Metrics, Origins, Rate, origin};

/// Bounds of peers. Shared by the listeners.
#[derive(Debug, Clone)]
pub struct PeerLimits {
    /// Peers that have proved who they are, or are about to in a handshake.
    pub peers: usize,
    /// Those from one address.
    pub peers_per_address: usize,
    /// Datagrams of those that have proved nothing, all together. Beyond it they are dropped.
    pub strangers: Option<Rate>,
    /// Those from one address.
    pub strangers_per_address: Option<Rate>,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self {
            peers: 100_000,
            peers_per_address: 100_000,
            strangers: Rate::new(5_000, 100_000),
            strangers_per_address: Rate::new(1_000, 20_000),
        }
    }
}

/// Cloning shares the counts.
#[derive(Debug, Clone)]
pub(crate) struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    metrics: Metrics,
    limits: PeerLimits,
    /// Guards counts for as long as a map entry or two take, and seldom a look at all of them.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    peers: usize,
    by_origin: HashMap<IpAddr, usize>,
    strangers: Bucket,
    strangers_by_origin: Origins,
}

/// A peer's place. Dropping it frees it.
#[derive(Debug)]
pub(crate) struct Place {
    inner: Arc<Inner>,
    origin: IpAddr,
}

impl Admission {
    pub(crate) fn new(limits: PeerLimits, metrics: &Metrics) -> Self {
        Self(Arc::new(Inner { metrics: metrics.clone(), limits, state: Mutex::default() }))
    }

    /// Peers that are there.
    pub(crate) fn open(&self) -> usize {
        self.0.state.lock().peers
    }

    /// Whether a datagram of a peer that has proved nothing is looked at. Counted where it is not.
    pub(crate) fn hears(&self, address: IpAddr) -> bool {
        let (origin, now, limits) = (origin(address), Instant::now(), &self.0.limits);
        let mut state = self.0.state.lock();
        let take = |bucket: Bucket, rate: Option<Rate>| rate.map_or(Ok(bucket), |rate| bucket.take(rate, 1, now));
        // An origin that is over its own rate takes nothing from the others.
        let own = take(state.strangers_by_origin.bucket(origin), limits.strangers_per_address);
        let (Ok(own), Ok(all)) = (own, take(state.strangers, limits.strangers)) else {
            drop(state);
            self.0.metrics.refused_for("coap_accept", "stranger_rate");
            return false;
        };
        state.strangers = all;
        if limits.strangers_per_address.is_some() {
            state.strangers_by_origin.put(origin, own, now);
        }
        true
    }

    /// A place for a peer, or none, counted, where a limit is reached.
    pub(crate) fn admit(&self, address: IpAddr) -> Option<Place> {
        let origin = origin(address);
        let limits = &self.0.limits;
        let refused = {
            let mut state = self.0.state.lock();
            let from_origin = state.by_origin.get(&origin).copied().unwrap_or(0);
            if state.peers >= limits.peers {
                "peers"
            } else if from_origin >= limits.peers_per_address {
                "peers_per_address"
            } else {
                state.peers += 1;
                state.by_origin.insert(origin, from_origin + 1);
                self.0.metrics.connection_opened();
                return Some(Place { inner: Arc::clone(&self.0), origin });
            }
        };
        self.0.metrics.refused_for("coap_accept", refused);
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.inner.state.lock();
        state.peers = state.peers.saturating_sub(1);
        if let Some(count) = state.by_origin.get_mut(&self.origin) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                state.by_origin.remove(&self.origin);
            }
        }
        self.inner.metrics.connection_closed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(limits: PeerLimits) -> Admission {
        Admission::new(limits, &Metrics::default())
    }

    #[test]
    fn a_place_is_free_again_when_its_peer_ends() {
        let admission = admission(PeerLimits { peers: 2, peers_per_address: 1, ..PeerLimits::default() });
        let [one, two, three] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|address| address.parse().unwrap());
        let first = admission.admit(one).unwrap();
        assert!(admission.admit(one).is_none());
        let _second = admission.admit(two).unwrap();
        assert!(admission.admit(three).is_none());
        drop(first);
        assert!(admission.admit(three).is_some());
    }

    #[test]
    fn strangers_have_a_rate() {
        let limits =
            PeerLimits { strangers_per_address: Rate::new(1, 2), strangers: Rate::new(1, 3), ..PeerLimits::default() };
        let admission = admission(limits);
        let [one, two] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().unwrap());
        assert!(admission.hears(one) && admission.hears(one) && !admission.hears(one));
        assert!(admission.hears(two) && !admission.hears(two));
    }
}
