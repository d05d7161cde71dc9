//! `weir status`: how the hub is.

use super::{failure::Failure, hub::Hub, output::Output};

pub(crate) async fn run(hub: &Hub, out: Output) -> Result<(), Failure> {
    out.fields(&hub.get(&["status"]).await?)
}
