//! `weir replay`: sends dead letters to their action again.

use serde_json::{Value, json};
use weir_core::RuleName;

use super::{failure::Failure, hub::Hub, output::Output};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum What {
    /// By number, or all of a rule; those that are delivered are deleted
    #[command(alias = "deadletters")]
    Deadletter {
        #[arg(value_name = "ID", required_unless_present = "rule", conflicts_with = "rule")]
        ids: Vec<i64>,
        #[arg(long)]
        rule: Option<RuleName>,
    },
}

pub(crate) async fn run(what: What, hub: &Hub, out: Output) -> Result<(), Failure> {
    let What::Deadletter { ids, rule } = what;
    let body = match rule {
        Some(rule) => json!({"rule": rule}),
        None => json!({"ids": ids}),
    };
    let answer =
        hub.post(&["deadletters", "replay"], &body).await.map_err(|failure| failure.see("weir get deadletters"))?;
    let count = |key: &str| answer.get(key).and_then(Value::as_u64).unwrap_or(0);
    let (replayed, failed) = (count("replayed"), count("failed"));
    out.done(&answer, &format!("{replayed} delivered, {failed} failed"))?;
    if failed > 0 {
        return Err(Failure::refused(format!("{failed} dead letters could not be delivered, and are kept"))
            .hint("see why: weir get deadletters"));
    }
    Ok(())
}
