//! Classes of topics that a product has beside the defaults, and who may use them.
//!
//! A change is in force when it is answered: on live connections the next publish is decided by it, and subscriptions
//! that it does not allow have ended.

pub use weir_core::TopicClass;

use weir_core::{ProductId, TopicSuffix};

use super::{AdminError, completed};
use crate::Broker;

/// Adds a class. Refused beyond the limit of classes per product.
pub async fn create(broker: &Broker, product: &ProductId, class: TopicClass) -> Result<(), AdminError> {
    check(&class)?;
    completed(broker, "topic class created", |broker| {
        let product = product.clone();
        async move {
            let policy = &broker.ingress().policy;
            let _one_at_a_time = policy.changing().await;
            broker.store().create_topic(&product, class.clone(), broker.limits().topics_per_product).await?;
            policy.change(|policy| policy.put_class(&product, class));
            Ok(())
        }
    })
    .await
}

/// Replaces the rights of a class.
pub async fn change(broker: &Broker, product: &ProductId, class: TopicClass) -> Result<(), AdminError> {
    check(&class)?;
    completed(broker, "topic class changed", |broker| {
        let product = product.clone();
        async move {
            let policy = &broker.ingress().policy;
            let _one_at_a_time = policy.changing().await;
            broker.store().change_topic(&product, class.clone()).await?;
            policy.change(|policy| policy.put_class(&product, class));
            broker.recheck_subscriptions(&product).await;
            Ok(())
        }
    })
    .await
}

/// Takes a class away. The defaults stay.
pub async fn delete(broker: &Broker, product: &ProductId, suffix: &TopicSuffix) -> Result<(), AdminError> {
    completed(broker, "topic class deleted", |broker| {
        let (product, suffix) = (product.clone(), suffix.clone());
        async move {
            let policy = &broker.ingress().policy;
            let _one_at_a_time = policy.changing().await;
            broker.store().delete_topic(&product, &suffix).await?;
            policy.change(|policy| policy.remove_class(&product, &suffix));
            broker.recheck_subscriptions(&product).await;
            Ok(())
        }
    })
    .await
}

fn check(class: &TopicClass) -> Result<(), AdminError> {
    if class.publish || class.subscribe {
        Ok(())
    } else {
        Err(AdminError::invalid("publish, subscribe", "a class of topics allows one of the two, or both"))
    }
}
