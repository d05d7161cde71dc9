//! Dead letters: what could not be delivered, to read, to send again and to delete.

pub use weir_store::{DeadLetter, DeadLetterKind};

use weir_core::RuleName;

use super::{AdminError, check_page};
use crate::Broker;

/// Dead letters of a rule that are read at one time to send them again.
const REPLAY_PAGE: u32 = 100;

/// Failures in a row after which the target is taken to be down still, and the rest is left where it is.
const FAILURES_IN_A_ROW: u64 = 10;

/// One page by age, after a certain one, and how many there are in all.
pub async fn list(
    broker: &Broker,
    rule: Option<&RuleName>,
    after: i64,
    limit: u32,
) -> Result<(Vec<DeadLetter>, u64), AdminError> {
    check_page(limit)?;
    let letters = broker.store().dead_letters(rule, after, limit).await?;
    Ok((letters, count(broker, rule).await?))
}

pub async fn get(broker: &Broker, id: i64) -> Result<DeadLetter, AdminError> {
    broker.store().dead_letter(id).await?.ok_or_else(|| AdminError::missing("dead letter", id))
}

pub async fn delete(broker: &Broker, id: i64) -> Result<(), AdminError> {
    match broker.store().delete_dead_letters(&[id]).await? {
        0 => Err(AdminError::missing("dead letter", id)),
        _ => Ok(()),
    }
}

/// Which dead letters to send again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    Ids(Vec<i64>),
    /// Every one that the rule has now.
    Rule(RuleName),
}

/// What became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Delivered, and deleted.
    pub replayed: u64,
    /// Tried without success, or left because those before failed. They stay dead letters.
    pub failed: u64,
    /// Why the first of them failed.
    pub error: Option<String>,
}

/// Sends dead letters to their actions again, oldest first. One that fails does not keep the next from being tried,
/// until many fail in a row.
pub async fn replay(broker: &Broker, selection: Selection) -> Result<Replayed, AdminError> {
    match selection {
        Selection::Ids(mut ids) => {
            check_page(u32::try_from(ids.len()).unwrap_or(u32::MAX))?;
            ids.sort_unstable();
            ids.dedup();
            let mut run = Run::default();
            for (index, id) in ids.iter().enumerate() {
                if !run.goes_on(broker) {
                    run.replayed.failed += ids.len().saturating_sub(index) as u64;
                    break;
                }
                run.send(broker, *id).await;
            }
            Ok(run.replayed)
        }
        Selection::Rule(rule) => {
            let mut run = Run::default();
            let mut left = count(broker, Some(&rule)).await?;
            let mut after = 0;
            // Those that arrive meanwhile come after these, and wait for another time.
            'pages: while left > 0 {
                let page = broker.store().dead_letters(Some(&rule), after, REPLAY_PAGE).await?;
                if page.is_empty() {
                    break;
                }
                for letter in page {
                    if left == 0 || !run.goes_on(broker) {
                        run.replayed.failed += left;
                        break 'pages;
                    }
                    run.send(broker, letter.id).await;
                    after = letter.id;
                    left -= 1;
                }
            }
            Ok(run.replayed)
        }
    }
}

#[derive(Debug, Default)]
struct Run {
    replayed: Replayed,
    failures_in_a_row: u64,
}

impl Run {
    fn goes_on(&self, broker: &Broker) -> bool {
        self.failures_in_a_row < FAILURES_IN_A_ROW && !broker.draining()
    }

    async fn send(&mut self, broker: &Broker, id: i64) {
        match broker.rules().replay(&[id]).await {
            Ok(arrived) => {
                self.replayed.replayed += arrived;
                self.failures_in_a_row = 0;
            }
            Err(error) => {
                self.replayed.failed += 1;
                self.replayed.error.get_or_insert_with(|| error.to_string());
                self.failures_in_a_row += 1;
            }
        }
    }
}

async fn count(broker: &Broker, rule: Option<&RuleName>) -> Result<u64, AdminError> {
    let counts = broker.store().dead_letter_counts().await?;
    Ok(counts.iter().filter(|count| rule.is_none_or(|rule| count.rule == *rule)).map(|count| count.kept).sum())
}
