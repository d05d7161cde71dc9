//! Tokens: revocable passwords of devices.

pub use weir_store::TokenRow;

use std::time::Duration;

use weir_core::{DeviceId, Timestamp};

use super::{AdminError, devices};
use crate::{Broker, CloseReason};

/// The longest life of a token that has an end.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// A token, at the only time it can be seen: the store keeps a hash.
#[derive(Clone)]
pub struct NewToken {
    pub password: String,
    /// `None`: good until it is revoked.
    pub expires_at: Option<Timestamp>,
}

/// Without the password.
impl std::fmt::Debug for NewToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewToken").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

pub async fn create(broker: &Broker, device: &DeviceId, expires_in: Option<Duration>) -> Result<NewToken, AdminError> {
    let now = broker.clock().now();
    let expires_at = expires_in.map(|life| expiry(now, life)).transpose()?;
    let (_id, password) = broker.store().create_token(device, expires_at, now).await?;
    Ok(NewToken { password, expires_at })
}

/// The tokens of a device, without what they are.
pub async fn list(broker: &Broker, device: &DeviceId) -> Result<Vec<TokenRow>, AdminError> {
    Ok(broker.store().tokens(device).await?)
}

/// Revokes every token of a device and ends its session, which may rest on one. Says how many there were.
pub async fn revoke(broker: &Broker, device: &DeviceId) -> Result<u64, AdminError> {
    devices::get(broker, device)?;
    let revoked = broker.store().revoke_tokens(device).await?;
    if revoked > 0 {
        broker.close_device_sessions(device, CloseReason::Disabled);
    }
    Ok(revoked)
}

fn expiry(now: Timestamp, life: Duration) -> Result<Timestamp, AdminError> {
    if life.is_zero() || life > LONGEST {
        let years = LONGEST.as_secs() / (365 * 24 * 3_600);
        return Err(AdminError::invalid("expires_in", format!("a token lives 1 second to {years} years")));
    }
    // A hundred years of milliseconds are far from the end of an i64.
    let life = i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
    Ok(Timestamp(now.0.saturating_add(life)))
}
