//! Keys of applications and administrators.

pub use weir_store::{KeyRow, Role};

use std::sync::Arc;

use weir_core::{Grants, KeyName, Principal, TopicFilter};

use super::{AdminError, completed};
use crate::Broker;

/// Topic filters that one key may be granted to publish, and to subscribe.
const GRANTS: usize = 256;

/// Makes a key and returns its secret, at the only time it can be seen.
pub async fn create(broker: &Broker, name: &KeyName, role: Role) -> Result<String, AdminError> {
    if let Role::Application(Grants { publish, subscribe }) = &role {
        if publish.is_empty() && subscribe.is_empty() {
            let reason = "grant at least one topic filter to an application, or make it an administrator's key";
            return Err(AdminError::invalid("publish, subscribe", reason));
        }
        // A subscription to it is decided by the filter behind: granted as it is written, it would be no right at all.
        if let Some(filter) = publish.iter().chain(subscribe).find(|filter| is_shared(filter)) {
            let reason =
                format!("grant what comes after $share/GROUP/ in {filter:?}: sharing needs no right of its own");
            return Err(AdminError::invalid("publish, subscribe", reason));
        }
        if publish.len() > GRANTS || subscribe.len() > GRANTS {
            return Err(AdminError::invalid(
                "publish, subscribe",
                format!("grant at most {GRANTS} topic filters each"),
            ));
        }
    }
    Ok(broker.store().create_key(name, role, broker.clock().now()).await?)
}

pub async fn list(broker: &Broker) -> Result<Vec<KeyRow>, AdminError> {
    Ok(broker.store().keys().await?)
}

/// Deletes a key and ends the sessions that act with it. Refused for the owner of a rule, which would stop with the
/// next start of the hub, and for the last administrator.
pub async fn delete(broker: &Broker, name: &KeyName) -> Result<(), AdminError> {
    let keys = broker.store().keys().await?;
    let key = keys.iter().find(|key| key.name == *name).ok_or_else(|| AdminError::missing("key", name))?;
    let administrators = keys.iter().filter(|key| key.role == Role::Administrator).count();
    if key.role == Role::Administrator && administrators == 1 {
        return Err(AdminError::LastAdministrator(name.to_string()));
    }
    if let Some(rule) = broker.store().rules().await?.iter().find(|rule| rule.owner == *name) {
        return Err(AdminError::OwnsRule { key: name.to_string(), rule: rule.name.to_string() });
    }
    let principal = principal(name.clone(), key.role.clone());
    completed(broker, "key deleted", |broker| {
        let name = name.clone();
        async move {
            broker.store().delete_key(&name).await?;
            broker.end_sessions(&principal).await;
            Ok(())
        }
    })
    .await
}

/// Whether a key still exists with the rights that `proved` was given by it.
pub fn in_force(broker: &Broker, proved: &Principal) -> bool {
    let (Principal::Administrator(name) | Principal::Application { key: name, .. }) = proved else { return false };
    // A store that cannot answer cannot vouch for anyone.
    let role = broker.store().key_role(name).ok().flatten();
    role.is_some_and(|role| principal(name.clone(), role) == *proved)
}

/// `$share/GROUP/…` [MQTT5-4.8.2-1].
fn is_shared(filter: &TopicFilter) -> bool {
    filter.as_str().split('/').next() == Some("$share")
}

/// Who acts with a key.
fn principal(name: KeyName, role: Role) -> Principal {
    match role {
        Role::Administrator => Principal::Administrator(name),
        Role::Application(grants) => Principal::Application { key: name, grants: Arc::new(grants) },
    }
}
