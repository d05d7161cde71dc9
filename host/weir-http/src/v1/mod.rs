//! The REST API, one file per resource.
//!
//! Times are milliseconds since 1970, offsets decimal numbers; a list is `{"items":[…],"total":n}`.

mod authorities;
mod backfills;
mod backtests;
mod bindings;
mod broadcasts;
mod call;
mod certificates;
mod dead_letters;
mod devices;
mod indexes;
mod keys;
mod lines;
mod pins;
mod plugins;
mod products;
mod publish;
mod query;
mod registrations;
mod rules;
mod secrets;
pub(crate) mod shadows;
mod sinks;
mod status;
pub(crate) mod tail;
mod tokens;
mod topics;
mod trace;

use serde::{Deserialize, Serialize};
use weir_core::Qos;

use crate::router::Route;

pub(crate) fn routes() -> Vec<Route> {
    [
        products::routes(),
        registrations::routes(),
        topics::routes(),
        devices::routes(),
        bindings::routes(),
        tokens::routes(),
        certificates::routes(),
        pins::routes(),
        authorities::routes(),
        keys::routes(),
        secrets::routes(),
        rules::routes(),
        sinks::routes(),
        indexes::routes(),
        plugins::routes(),
        dead_letters::routes(),
        query::routes(),
        backtests::routes(),
        backfills::routes(),
        shadows::routes(),
        call::routes(),
        broadcasts::routes(),
        tail::routes(),
        trace::routes(),
        publish::routes(),
        status::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What is listed, and how many there are beyond this page.
#[derive(Serialize)]
struct List<T> {
    items: Vec<T>,
    total: u64,
}

impl<T> List<T> {
    /// A list that is never paged.
    fn whole(items: Vec<T>) -> Self {
        Self { total: items.len() as u64, items }
    }
}

/// Which part of a long list is wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    offset: u64,
    #[serde(default = "page_limit")]
    limit: u32,
}

/// The quality of service of what is published, where the caller does not say: answered when it is durable.
fn acknowledged() -> u8 {
    Qos::AtLeastOnce as u8
}

/// Things on a page, where the caller does not say.
fn page_limit() -> u32 {
    100
}
