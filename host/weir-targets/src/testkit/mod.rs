//! What `CONTRACT.md` says of every target, as a test that each target passes: through another side that is slow, refuses,
//! is half broken, gone and back again, and that is told everything twice.
//!
//! A target's test brings an [`OtherSide`]: a real server, as far as there is one, that can be told how to behave.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use weir_core::{
    Offset,
    seams::{BoxFuture, Delivery, IdempotenceKey, Outcome, Target},
};

/// How the other side behaves from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Fine,
    /// Takes a moment for each row.
    Slow,
    /// Takes no row, and says that the row is wrong.
    Refusing,
    /// Takes all but the rows whose payload has [`BROKEN`] in it, of which it says that they are wrong.
    HalfBroken,
    /// Cannot be reached, or says that it cannot serve.
    Gone,
}

/// Stands in rows that a half broken side does not take.
pub const BROKEN: &str = "broken";

/// The server behind a target.
pub trait OtherSide: Send + Sync {
    /// A target that writes to it, newly opened.
    fn open(&self) -> Arc<dyn Target>;

    fn behave(&self, behaviour: Behaviour) -> BoxFuture<'_, ()>;

    /// The payloads it took so far, in order, repetitions among them.
    fn taken(&self) -> Vec<String>;
}

/// Devices in a batch.
const DEVICES: u64 = 4;

/// How long one write may take, whatever the other side does. Wide, for machines that are busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Takes a target through all of it.
pub async fn check(side: &dyn OtherSide) {
    everything_arrives_in_order(side).await;
    what_is_refused_is_the_rows_fault(side).await;
    a_wrong_row_takes_no_other_along(side).await;
    one_that_is_gone_keeps_every_row_until_it_is_back(side).await;
    a_write_that_is_given_up_does_no_harm(side).await;
    a_closed_target_opens_again(side).await;
    repetitions_arrive_under_the_same_name(side).await;
}

async fn everything_arrives_in_order(side: &dyn OtherSide) {
    for behaviour in [Behaviour::Fine, Behaviour::Slow] {
        side.behave(behaviour).await;
        let before = side.taken().len();
        let rows = rows(&format!("{behaviour:?}"), 40);
        assert_eq!(write(&side.open(), &rows).await, vec![Outcome::Delivered; 40], "{behaviour:?}");
        let taken = side.taken().split_off(before);
        assert_eq!(taken.len(), 40, "{behaviour:?}: each row arrives once");
        for device in 0..DEVICES {
            let of_device = |payload: &&str| payload.contains(&format!("\"device\":{device},"));
            let sent: Vec<&str> = rows.iter().filter_map(text).filter(of_device).collect();
            let taken: Vec<&str> = taken.iter().map(String::as_str).filter(of_device).collect();
            assert_eq!(taken, sent, "{behaviour:?}: rows of a device keep their order");
        }
    }
}

async fn what_is_refused_is_the_rows_fault(side: &dyn OtherSide) {
    side.behave(Behaviour::Refusing).await;
    let outcomes = write(&side.open(), &rows("refused", 5)).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Rejected { .. })), "{outcomes:?}");
}

async fn a_wrong_row_takes_no_other_along(side: &dyn OtherSide) {
    side.behave(Behaviour::HalfBroken).await;
    let target = side.open();
    let mut rows = rows("half", 9);
    for index in [0, 4, 8] {
        if let Some(row) = rows.get_mut(index) {
            row.payload = format!("{{\"{BROKEN}\":{index}}}").into();
        }
    }
    let outcomes = write(&target, &rows).await;
    for (row, outcome) in rows.iter().zip(&outcomes) {
        let is_broken = text(row).is_some_and(|text| text.contains(BROKEN));
        match outcome {
            Outcome::Delivered => assert!(!is_broken, "{outcomes:?}"),
            Outcome::Rejected { .. } => assert!(is_broken, "{outcomes:?}"),
            Outcome::Unavailable { .. } => assert!(matches!(outcome, Outcome::Delivered), "{outcomes:?}"),
        }
    }
    let taken: BTreeSet<String> = side.taken().into_iter().collect();
    let whole = rows.iter().filter_map(text).filter(|text| !text.contains(BROKEN));
    whole.for_each(|text| assert!(taken.contains(text), "{text} was delivered and is not there"));
}

async fn one_that_is_gone_keeps_every_row_until_it_is_back(side: &dyn OtherSide) {
    let target = side.open();
    let rows = rows("gone", 6);
    side.behave(Behaviour::Gone).await;
    // As often as a worker asks in an hour or so.
    for _ in 0..20 {
        let outcomes = write(&target, &rows).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Unavailable { .. })), "{outcomes:?}");
    }
    side.behave(Behaviour::Fine).await;
    assert_eq!(write(&target, &rows).await, vec![Outcome::Delivered; rows.len()], "it is back");
    let taken: BTreeSet<String> = side.taken().into_iter().collect();
    rows.iter().filter_map(text).for_each(|text| assert!(taken.contains(text), "{text} is lost"));
}

async fn a_write_that_is_given_up_does_no_harm(side: &dyn OtherSide) {
    side.behave(Behaviour::Slow).await;
    let target = side.open();
    let rows = rows("dropped", 4);
    for _ in 0..3 {
        let mut write = target.write(&rows);
        // Once, and never again.
        std::future::poll_fn(|context| {
            let _begun = write.as_mut().poll(context);
            std::task::Poll::Ready(())
        })
        .await;
    }
    side.behave(Behaviour::Fine).await;
    assert_eq!(write(&target, &rows).await, vec![Outcome::Delivered; rows.len()], "after writes that were dropped");
}

async fn a_closed_target_opens_again(side: &dyn OtherSide) {
    let target = side.open();
    target.close().await;
    assert_eq!(write(&target, &rows("closed", 2)).await, vec![Outcome::Delivered; 2]);
    target.close().await;
    target.close().await;
    assert_eq!(write(&target, &rows("again", 2)).await, vec![Outcome::Delivered; 2]);
}

async fn repetitions_arrive_under_the_same_name(side: &dyn OtherSide) {
    let rows = rows("twice", 3);
    for _ in 0..2 {
        // As after a crash: another opening, the same rows.
        assert_eq!(write(&side.open(), &rows).await, vec![Outcome::Delivered; rows.len()]);
    }
    let taken: BTreeSet<String> = side.taken().into_iter().collect();
    rows.iter().filter_map(text).for_each(|text| assert!(taken.contains(text), "{text} is lost"));
}

async fn write(target: &Arc<dyn Target>, rows: &[Delivery]) -> Vec<Outcome> {
    let outcomes = tokio::time::timeout(PATIENCE, target.write(rows)).await;
    let outcomes = outcomes.unwrap_or_default();
    assert_eq!(outcomes.len(), rows.len(), "a write ends, with an outcome for each row");
    outcomes
}

fn text(row: &Delivery) -> Option<&str> {
    std::str::from_utf8(&row.payload).ok()
}

/// Rows of a few devices, told apart by their payloads.
fn rows(name: &str, count: u64) -> Vec<Delivery> {
    let Ok(rule) = "kit".parse::<weir_core::RuleName>() else { return Vec::new() };
    let row = |index: u64| {
        let device = index % DEVICES;
        Delivery {
            key: IdempotenceKey { offset: Offset::new(1, index), rule: rule.clone(), row: 0 },
            topic: format!("A1B2C3D4E5/dev{device}/event"),
            product: Some("A1B2C3D4E5".to_owned()),
            device: Some(format!("dev{device}")),
            accepted_at: 1_700_000_000_000,
            qos: 1,
            hop: 0,
            payload: format!("{{\"device\":{device},\"row\":{index},\"of\":\"{name}\"}}").into(),
            arguments: Vec::new(),
            failure: None,
        }
    };
    (0..count).map(row).collect()
}
