use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;
use weir_core::{
    seams::{Delivery, Outcome},
    statement::Statement,
};
use weir_log::storage::{Storage, faulty::Faulty};
use weir_store::DeadLetterKind;

use super::hub::{Hub, Targets, administrator, application, eventually};

struct Place {
    faulty: Faulty,
    storage: Arc<dyn Storage>,
    folder: Arc<TempDir>,
    targets: Targets,
}

fn place() -> Place {
    let faulty = Faulty::new();
    let storage: Arc<dyn Storage> = Arc::new(faulty.clone());
    Place { faulty, storage, folder: Arc::new(tempfile::tempdir().unwrap()), targets: Targets::default() }
}

impl Place {
    async fn hub(&self) -> Hub {
        Hub::start(&self.storage, &self.folder, &self.targets).await
    }
}

fn unavailable() -> Outcome {
    Outcome::Unavailable { reason: "connection refused".to_owned(), retry_after: None }
}

fn rejects(text: &'static str) -> impl Fn(&Delivery) -> Outcome {
    move |row| {
        if row.payload.starts_with(text.as_bytes()) {
            Outcome::Rejected { reason: "400".to_owned(), retry: true }
        } else {
            Outcome::Delivered
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_row_reaches_each_action_and_the_books_balance() {
    let place = place();
    let hub = place.hub().await;
    hub.apply("r A1B2C3D4E5/+/event one,two").await;
    for n in 0..20 {
        hub.publish("dev", &format!("m{n}")).await;
        hub.publish("dev", "no").await;
    }
    eventually("twenty rows at both", || {
        hub.balanced("r");
        place.targets.taken("one").len() == 20 && place.targets.taken("two").len() == 20
    })
    .await;
    let expected: Vec<String> = (0..20).map(|n| format!("m{n}")).collect();
    assert_eq!(place.targets.taken("one"), expected);
    eventually("all is read", || {
        let action = hub.status("r").actions.swap_remove(0);
        (action.read, action.matched, action.unmatched) == (40, 20, 20)
    })
    .await;
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_gone_for_an_hour_delays_only_its_own_action() {
    let place = place();
    let hub = place.hub().await;
    let down = Arc::new(AtomicBool::new(true));
    let gone = Arc::clone(&down);
    place
        .targets
        .answer("slow", move |_| if gone.load(Ordering::Relaxed) { unavailable() } else { Outcome::Delivered });
    hub.apply("r A1B2C3D4E5/+/event slow,quick").await;
    hub.apply("other A1B2C3D4E5/+/event third").await;
    for n in 0..60 {
        hub.publish("dev", &format!("m{n}")).await;
        hub.clock.advance(Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    eventually("the others have everything", || {
        place.targets.taken("quick").len() == 60 && place.targets.taken("third").len() == 60
    })
    .await;
    assert!(place.targets.taken("slow").is_empty());
    hub.balanced("r");
    // Some wait in memory, the rest in the log: a detached action has not read them yet.
    assert!(hub.status("r").actions[0].pending > 0);
    assert_eq!(hub.status("r").actions[0].reason.as_deref(), Some("connection refused"));

    down.store(false, Ordering::Relaxed);
    eventually("the slow one has everything", || place.targets.taken("slow").len() == 60).await;
    let expected: Vec<String> = (0..60).map(|n| format!("m{n}")).collect();
    assert_eq!(place.targets.taken("slow"), expected, "order is kept over a pause");
    eventually("it is at the head again", || {
        hub.balanced("r");
        hub.status("r").actions[0].pending == 0 && hub.status("r").actions[0].reason.is_none()
    })
    .await;
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn exactly_the_rejected_rows_go_to_the_error_target() {
    let place = place();
    let hub = place.hub().await;
    place.targets.answer("picky", rejects("x"));
    hub.apply("r A1B2C3D4E5/+/event picky ! errors").await;
    for payload in ["a", "x1", "b", "bad", "x2", "c"] {
        hub.publish("dev", payload).await;
    }
    eventually("every row has an end", || {
        hub.balanced("r");
        place.targets.taken("picky").len() == 3 && place.targets.taken("errors").len() == 3
    })
    .await;
    assert_eq!(place.targets.taken("picky"), ["a", "b", "c"]);
    let mut errors = place.targets.taken("errors");
    errors.sort();
    assert_eq!(errors, ["bad", "x1", "x2"]);
    let mut reasons = place.targets.failures("errors");
    reasons.sort();
    assert_eq!(reasons, ["400", "400", "bad"]);
    let store = hub.running.broker.store().clone();
    assert!(store.dead_letters(None, 0, 10).await.unwrap().is_empty());
    eventually("counted", || hub.status("r").actions[0].dead_lettered == 2).await;
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_is_kept_and_can_be_sent_again() {
    let place = place();
    let hub = place.hub().await;
    place.targets.answer("picky", rejects("x"));
    hub.apply("r A1B2C3D4E5/+/event picky").await;
    hub.publish("dev", "x1").await;
    hub.publish("dev", "a").await;
    eventually("one is dead", || hub.status("r").actions[0].dead_lettered == 1).await;
    let store = hub.running.broker.store().clone();
    // The letter was put down before the row was counted; the next checkpoint stores it.
    let started = std::time::Instant::now();
    let letters = loop {
        let letters = store.dead_letters(None, 0, 10).await.unwrap();
        if !letters.is_empty() || started.elapsed() > Duration::from_secs(20) {
            break letters;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, "400");
    let DeadLetterKind::Row(row) = &letters[0].kind else { panic!("a row was expected") };
    assert_eq!(row.payload.as_ref(), b"x1");

    let ids = [letters[0].id];
    assert!(hub.running.broker.rules().replay(&ids).await.is_err(), "the target still rejects it");
    place.targets.answer("picky", |_| Outcome::Delivered);
    assert_eq!(hub.running.broker.rules().replay(&ids).await.unwrap(), 1);
    assert!(store.dead_letters(None, 0, 10).await.unwrap().is_empty());
    assert_eq!(place.targets.taken("picky"), ["a", "x1"]);
    hub.running.drain(Duration::from_secs(5)).await;
}

/// Crashes at several points; whatever was acknowledged reaches the target, and the books balance.
#[tokio::test(start_paused = true)]
async fn effects_and_books_survive_crashes() {
    let mut place = place();
    let mut expected = Vec::new();
    for round in 0..6 {
        let hub = place.hub().await;
        if round == 0 {
            hub.apply("r A1B2C3D4E5/+/event one,slow").await;
        }
        // The second target answers in odd rounds only.
        if round % 2 == 0 {
            place.targets.answer("slow", |_| unavailable());
        } else {
            place.targets.answer("slow", |_| Outcome::Delivered);
        }
        for n in 0..10 {
            let payload = format!("{round}.{n}");
            hub.publish("dev", &payload).await;
            expected.push(payload);
        }
        for _ in 0..round * 40 {
            tokio::task::yield_now().await;
        }
        hub.balanced("r");
        place.faulty = hub.crash(&place.faulty).await;
        place.storage = Arc::new(place.faulty.clone());
    }
    place.targets.answer("slow", |_| Outcome::Delivered);
    let hub = place.hub().await;
    eventually("everything arrived at both", || {
        hub.balanced("r");
        ["one", "slow"].iter().all(|target| {
            let taken = place.targets.taken(target);
            expected.iter().all(|payload| taken.contains(payload))
        })
    })
    .await;
    // What was delivered before a crash and not yet stored as delivered is read, and counted, again: never less.
    eventually("every message is in the books", || {
        hub.balanced("r");
        hub.status("r").actions.iter().all(|action| action.pending == 0 && action.delivered >= 60)
    })
    .await;
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_disabled_rule_misses_what_comes_meanwhile_and_goes_on_counting() {
    let place = place();
    let hub = place.hub().await;
    hub.apply("r A1B2C3D4E5/+/event one").await;
    hub.publish("dev", "a").await;
    eventually("a", || hub.status("r").actions[0].delivered == 1).await;
    let rule: weir_core::RuleName = "r".parse().unwrap();
    let rules = hub.running.broker.rules();
    rules.change(vec![Statement::DisableRule(rule.clone())], &administrator()).await.unwrap();
    assert!(hub.status("r").actions.is_empty());
    hub.publish("dev", "b").await;
    rules.change(vec![Statement::EnableRule(rule)], &administrator()).await.unwrap();
    hub.publish("dev", "c").await;
    eventually("c", || place.targets.taken("one").contains(&"c".to_owned())).await;
    assert_eq!(place.targets.taken("one"), ["a", "c"]);
    eventually("counts go on", || hub.status("r").actions[0].delivered == 2).await;
    hub.balanced("r");
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_rule_goes_on_and_a_dropped_one_ends() {
    let place = place();
    let hub = place.hub().await;
    hub.apply("r A1B2C3D4E5/+/event one").await;
    hub.publish("dev", "a").await;
    eventually("a", || place.targets.taken("one").len() == 1).await;
    hub.apply("r A1B2C3D4E5/+/event two").await;
    assert_eq!(hub.status("r").version, 2);
    hub.publish("dev", "b").await;
    eventually("b", || place.targets.taken("two").contains(&"b".to_owned())).await;
    eventually("counts go on", || hub.status("r").actions[0].delivered >= 2).await;
    assert_eq!(place.targets.taken("one"), ["a"]);
    hub.apply("-r").await;
    assert!(hub.running.broker.rules().status(&"r".parse().unwrap()).is_none());
    hub.publish("dev", "c").await;
    hub.running.drain(Duration::from_secs(5)).await;
    assert!(!place.targets.taken("two").contains(&"c".to_owned()));
}

/// Where that is known before any row; otherwise each row is asked for when it goes.
#[tokio::test(start_paused = true)]
async fn a_rule_is_saved_if_its_owner_may_publish_where_it_does() {
    let place = place();
    let hub = place.hub().await;
    let owner = application("A1B2C3D4E5/+/event");
    let apply = async |script: &str| hub.running.broker.rules().apply(script, &owner).await;
    let denied = apply("r A1B2C3D4E5/+/event one,A1B2C3D4E5/a/control").await.unwrap_err();
    assert_eq!(denied.to_string(), "key:app may not publish to \"A1B2C3D4E5/a/control\"");
    apply("r A1B2C3D4E5/+/event one,two").await.unwrap();
    hub.apply("s A1B2C3D4E5/+/event one,A1B2C3D4E5/a/control").await;
    hub.running.drain(Duration::from_secs(5)).await;
}
