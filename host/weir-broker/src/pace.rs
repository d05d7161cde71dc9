//! Rates: how much may pass at once, and how much in the long run.
//!
//! A bucket is a single time: when all that was taken from it is paid for. Nothing runs to fill it.

use std::time::Duration;

use tokio::time::Instant;
use weir_core::Envelope;

use crate::Limits;

/// So many at once, and so many in each second after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_second: u64,
    burst: u64,
}

/// What was taken at a [`Rate`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    paid_at: Option<Instant>,
}

/// What one session publishes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    messages: Bucket,
    bytes: Bucket,
}

impl Rate {
    /// No rate at all if `per_second` is 0. A burst is at least one.
    pub fn new(per_second: u64, burst: u64) -> Option<Self> {
        (per_second > 0).then_some(Self { per_second, burst: burst.max(1) })
    }

    /// The time that pays for `amount`.
    fn time(self, amount: u64) -> Duration {
        let nanoseconds = u128::from(amount) * 1_000_000_000 / u128::from(self.per_second.max(1));
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

impl Bucket {
    /// The bucket with `amount` taken; or when there is enough in it. An amount beyond the burst passes when nothing is
    /// owed, as it never would otherwise.
    pub fn take(self, rate: Rate, amount: u64, now: Instant) -> Result<Self, Instant> {
        let paid_at = self.paid_at.filter(|paid_at| *paid_at > now).unwrap_or(now);
        let owed = paid_at.saturating_duration_since(now);
        let may_owe = rate.time(rate.burst);
        let wait = owed.saturating_add(rate.time(amount).min(may_owe)).saturating_sub(may_owe);
        if wait.is_zero() {
            Ok(Self { paid_at: paid_at.checked_add(rate.time(amount)) })
        } else {
            Err(now.checked_add(wait).unwrap_or(now))
        }
    }

    /// Whether nothing is owed: such a bucket is as good as a new one.
    pub fn is_full(self, now: Instant) -> bool {
        self.paid_at.is_none_or(|paid_at| paid_at <= now)
    }
}

impl Pace {
    /// Whether nothing is owed.
    pub(crate) fn is_paid(self, now: Instant) -> bool {
        self.messages.is_full(now) && self.bytes.is_full(now)
    }

    /// The pace after `messages`; or when they may pass. Of several that do not fit at once, the first may.
    pub(crate) fn after(self, limits: &Limits, messages: &[Envelope<'_>], now: Instant) -> Result<Self, Instant> {
        let size: u64 = messages.iter().map(|message| (message.topic.len() + message.payload.len()) as u64).sum();
        let take = |bucket: Bucket, rate: Option<Rate>, amount: u64| match rate {
            None => Ok(bucket),
            // Debts are for one large message; many small ones are let through one by one.
            Some(rate) if messages.len() > 1 && amount > rate.burst => Err(now),
            Some(rate) => bucket.take(rate, amount, now),
        };
        Ok(Self {
            messages: take(self.messages, limits.device_messages, messages.len() as u64)?,
            bytes: take(self.bytes, limits.device_bytes, size)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use weir_core::{Protocol, Qos};

    use super::*;

    /// Takes amounts at times (milliseconds) and compares with how long each must wait; 0: it passes.
    fn check(rate: Rate, takes: &[(u64, u64, u64)]) {
        let start = Instant::now();
        let mut bucket = Bucket::default();
        for (at, amount, wait) in takes {
            let now = start + Duration::from_millis(*at);
            match bucket.take(rate, *amount, now) {
                Ok(after) => {
                    assert_eq!(*wait, 0, "{amount} at {at} passed");
                    bucket = after;
                }
                Err(until) => assert_eq!(until - now, Duration::from_millis(*wait), "{amount} at {at}"),
            }
        }
    }

    #[test]
    fn a_burst_passes_at_once_and_then_the_rate_rules() {
        let rate = Rate::new(10, 3).unwrap();
        check(rate, &[(0, 1, 0), (0, 2, 0), (0, 1, 100), (99, 1, 1), (100, 1, 0), (100, 1, 100)]);
        check(rate, &[(0, 3, 0), (0, 2, 200), (200, 2, 0), (10_000, 3, 0), (10_000, 1, 100)]);
    }

    #[test]
    fn what_is_larger_than_the_burst_passes_when_nothing_is_owed() {
        let rate = Rate::new(10, 3).unwrap();
        check(rate, &[(0, 5, 0), (0, 1, 300), (300, 1, 0), (300, 5, 300), (600, 5, 0)]);
        check(Rate::new(1, 0).unwrap(), &[(0, u64::MAX, 0)]);
        assert_eq!(Rate::new(0, 3), None, "0 is no limit");
    }

    #[test]
    fn many_small_messages_pass_one_by_one_and_not_on_credit() {
        let limits =
            Limits { device_messages: Rate::new(10, 3), device_bytes: Rate::new(100, 50), ..Limits::default() };
        let now = Instant::now();
        let message = |payload: &'static [u8]| Envelope::new("t", "p", Protocol::Mqtt311, Qos::AtMostOnce, payload);
        let small = message(b"x");
        assert!(Pace::default().after(&limits, &[small; 3], now).is_ok());
        assert_eq!(Pace::default().after(&limits, &[small; 4], now).unwrap_err(), now);
        let mut pace = Pace::default();
        for _ in 0..3 {
            pace = pace.after(&limits, &[small], now).unwrap();
        }
        assert_eq!(pace.after(&limits, &[small], now).unwrap_err(), now + Duration::from_millis(100));
        // The bytes of the topic count; a refusal for them takes nothing from the messages.
        let large = message(&[0; 59]);
        let pace = Pace::default().after(&limits, &[large], now).unwrap();
        assert_eq!(pace.after(&limits, &[small], now).unwrap_err(), now + Duration::from_millis(120));
        let unlimited = Limits { device_messages: None, device_bytes: None, ..Limits::default() };
        assert!(pace.after(&unlimited, &[large; 9], now).is_ok());
    }
}
