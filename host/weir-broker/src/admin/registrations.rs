//! Dynamic registration of a product's devices: who may, how many, and by what secret.

pub use weir_store::{Registration, RegistrationChange, RegistrationCredential, RegistrationMode, SecretChange};

use weir_core::ProductId;

use super::{AdminError, products};
use crate::Broker;

/// Characters of a secret (vendor protocol §1): the first 16 are a key, and clients have room for 32.
const SECRET: std::ops::RangeInclusive<usize> = 16..=32;

/// Devices that one product may have (vendor protocol §1).
const LIMIT: u32 = 1_000_000;

/// `None`: nothing was ever said of it, so no device of the product may register.
pub fn get(broker: &Broker, product: &ProductId) -> Result<Option<Registration>, AdminError> {
    products::get(broker, product)?;
    Ok(broker.store().registration(product)?)
}

/// Changes what is given, and makes a secret if there is none.
pub async fn change(
    broker: &Broker,
    product: &ProductId,
    change: RegistrationChange,
) -> Result<Registration, AdminError> {
    if change.limit.is_some_and(|limit| limit > LIMIT) {
        return Err(AdminError::invalid("limit", format!("at most {LIMIT} devices of a product may register")));
    }
    if let SecretChange::Given(secret) = &change.secret
        && (!SECRET.contains(&secret.len()) || !secret.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        let reason = format!("use {} to {} letters, digits and signs of ASCII", SECRET.start(), SECRET.end());
        return Err(AdminError::invalid("secret", reason));
    }
    Ok(broker.store().change_registration(product, change).await?)
}
