//! Rows to updates of shadows.

use std::{fmt, str::FromStr, sync::Arc};

use serde_json::{Map, Value};
use weir_core::{
    DeviceId,
    seams::{BoxFuture, Delivery, Outcome, Publisher, Republish, Target, TargetContext},
    shadow::{ShadowTopic, update_request},
};

use super::config::{Config, DEVICE, NAME, PRODUCT, VERSION, version};

pub(super) struct ShadowTarget {
    pub(super) config: Config,
    pub(super) context: TargetContext,
    pub(super) publisher: Arc<dyn Publisher>,
}

impl Target for ShadowTarget {
    /// One append for all rows, so that they share one commit of the log, and are applied together.
    fn write<'a>(&'a self, rows: &'a [Delivery]) -> BoxFuture<'a, Vec<Outcome>> {
        let requests = rows.iter().map(|row| self.request(row)).collect();
        Box::pin(crate::published(requests, |requests| self.publisher.ask_shadows(&self.context.owner, requests)))
    }

    fn publishes_to(&self) -> Option<String> {
        let Config { product, device, name, .. } = &self.config;
        let device = DeviceId { product: product.clone()?, device: device.clone()? };
        Some(ShadowTopic { device, name: name.clone() }.request())
    }
}

impl ShadowTarget {
    fn request(&self, row: &Delivery) -> Result<Republish, String> {
        let Config { part, product, device, name, version: fixed_version } = &self.config;
        let device = DeviceId {
            product: of_row(product.as_ref(), row, PRODUCT)?
                .map_or_else(|| own(row.product.as_deref(), PRODUCT), Ok)?,
            device: of_row(device.as_ref(), row, DEVICE)?.map_or_else(|| own(row.device.as_deref(), DEVICE), Ok)?,
        };
        let name = of_row(name.as_ref(), row, NAME)?;
        let version = match fixed_version {
            Some(version) => *version,
            None => argument(row, VERSION).map(version).transpose()?.unwrap_or(0),
        };
        let topic = ShadowTopic { device, name }.request();
        let hop = crate::next_hop(row, &self.context.rule, &topic)?;
        let keys: Map<String, Value> = serde_json::from_slice(&row.payload)
            .map_err(|_| format!("the row is not a JSON object, so it cannot be merged into {part}"))?;
        let state = Map::from_iter([((*part).to_owned(), Value::Object(keys))]);
        Ok(Republish {
            topic,
            payload: update_request(&state, version, false).into(),
            qos: 1,
            hop,
            rule: self.context.rule.clone(),
        })
    }
}

/// The value for a row: the same for all, or the row's own; `None` if the rule sets none.
fn of_row<T>(fixed: Option<&T>, row: &Delivery, setting: &str) -> Result<Option<T>, String>
where
    T: Clone + FromStr<Err: fmt::Display>,
{
    if let Some(fixed) = fixed {
        return Ok(Some(fixed.clone()));
    }
    argument(row, setting).map(str::parse).transpose().map_err(|error: T::Err| format!("{setting}: {error}"))
}

fn argument<'a>(row: &'a Delivery, setting: &str) -> Option<&'a str> {
    crate::value(None, row, setting)
}

/// What the message is of.
fn own<T>(value: Option<&str>, setting: &str) -> Result<T, String>
where
    T: FromStr<Err: fmt::Display>,
{
    let value =
        value.ok_or_else(|| format!("the message is of no device; say whose shadow is meant by {setting} => '…'"))?;
    value.parse().map_err(|error: T::Err| format!("{setting}: {error}"))
}
