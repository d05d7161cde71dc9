//! Rates by address: what each peer has taken lately.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

use tokio::time::Instant;

use crate::Bucket;

/// Origins that are remembered before those that owe nothing are forgotten.
const ORIGINS: usize = 1_024;

/// A bucket for each origin that has taken something. Bounded by what is taken in the time that pays for it.
#[derive(Debug, Default)]
pub struct Origins {
    buckets: HashMap<IpAddr, Bucket>,
    /// Origins at which all are looked through for those that owe nothing.
    crowded: usize,
}

impl Origins {
    pub fn bucket(&self, origin: IpAddr) -> Bucket {
        self.buckets.get(&origin).copied().unwrap_or_default()
    }

    pub fn put(&mut self, origin: IpAddr, bucket: Bucket, now: Instant) {
        self.buckets.insert(origin, bucket);
        // At twice what the last look left, so that the looks together cost no more than what was put.
        if self.buckets.len() > self.crowded.max(ORIGINS) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            self.crowded = self.buckets.len().saturating_mul(2);
        }
    }
}

/// What one peer holds: an IPv4 address, or a network of 64 bits in IPv6, where single addresses cost nothing.
pub fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use super::*;
    use crate::Rate;

    #[test]
    fn origins_that_owe_nothing_are_forgotten() {
        let (mut origins, rate, start) = (Origins::default(), Rate::new(10, 2).unwrap(), Instant::now());
        for number in 0..10_000_u32 {
            let (origin, now) = (Ipv4Addr::from_bits(number).into(), start + Duration::from_millis(u64::from(number)));
            let bucket = origins.bucket(origin).take(rate, 1, now).unwrap();
            origins.put(origin, bucket, now);
        }
        // Each owes for 100 ms, and one comes in each.
        assert!(origins.buckets.len() <= ORIGINS);
    }
}
