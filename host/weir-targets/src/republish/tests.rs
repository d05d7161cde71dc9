use std::sync::{Arc, Mutex};

use bytes::Bytes;
use weir_core::{
    Offset, Principal,
    seams::{
        BoxFuture, Delivery, IdempotenceKey, Outcome, Publisher, Republish, SettingError, Settings, Target,
        TargetContext, TargetKind,
    },
};

use super::RepublishKind;
use crate::testkit::{self, BROKEN, Behaviour, OtherSide};

/// Keeps what was published, call by call, and refuses the topic `full`.
#[derive(Default)]
struct Hub(Mutex<Vec<Vec<Republish>>>);

impl Publisher for Hub {
    fn publish<'a>(&'a self, owner: &'a Principal, messages: Vec<Republish>) -> BoxFuture<'a, Vec<Outcome>> {
        assert_eq!(owner, &context().owner);
        let outcome = |message: &Republish| match message.topic.as_str() {
            "full" => Outcome::Unavailable { reason: "full".to_owned(), retry_after: None },
            _ => Outcome::Delivered,
        };
        let outcomes = messages.iter().map(outcome).collect();
        self.0.lock().unwrap().push(messages);
        Box::pin(async { outcomes })
    }

    fn ask_shadows<'a>(&'a self, _owner: &'a Principal, _requests: Vec<Republish>) -> BoxFuture<'a, Vec<Outcome>> {
        panic!("this target asks nothing of shadows")
    }
}

fn context() -> TargetContext {
    let owner = Principal::Administrator("admin".parse().unwrap());
    TargetContext { rule: "r".parse().unwrap(), owner, sink: None, grants: Vec::new() }
}

fn open(settings: &[(&str, &str)]) -> Result<(Arc<Hub>, Arc<dyn Target>), SettingError> {
    let hub = Arc::new(Hub::default());
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let target = RepublishKind::new(hub.clone()).open(&Settings(settings), context())?;
    Ok((hub, target))
}

fn row(topic: Option<&str>, qos: u8, hop: u8) -> Delivery {
    Delivery {
        key: IdempotenceKey { offset: Offset::new(1, 7), rule: "r".parse().unwrap(), row: 0 },
        topic: "A1B2C3D4E5/dev/event".to_owned(),
        product: Some("A1B2C3D4E5".to_owned()),
        device: Some("dev".to_owned()),
        accepted_at: 0,
        qos,
        hop,
        payload: Bytes::from_static(b"{\"temp\":31}"),
        arguments: topic.map(|topic| ("topic".to_owned(), topic.to_owned())).into_iter().collect(),
        failure: None,
    }
}

fn rejected(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Rejected { reason, retry: false } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn rows_become_messages_in_one_publish() {
    let (hub, target) = open(&[("topic", "out/x")]).unwrap();
    let outcomes = target.write(&[row(None, 0, 0), row(None, 1, 7)]).await;
    assert_eq!(outcomes, [Outcome::Delivered, Outcome::Delivered]);
    let message = |qos, hop| Republish {
        topic: "out/x".to_owned(),
        payload: Bytes::from_static(b"{\"temp\":31}"),
        qos,
        hop,
        rule: "r".parse().unwrap(),
    };
    assert_eq!(*hub.0.lock().unwrap(), [vec![message(0, 1), message(1, 8)]]);
}

#[tokio::test]
async fn a_quality_of_service_that_is_set_replaces_the_original() {
    let (hub, target) = open(&[("topic", "out/x"), ("qos", "1")]).unwrap();
    target.write(&[row(None, 0, 0), row(None, 2, 0)]).await;
    assert!(hub.0.lock().unwrap()[0].iter().all(|message| message.qos == 1));
}

#[tokio::test]
async fn outcomes_stand_in_the_order_of_the_rows() {
    let (hub, target) = open(&[]).unwrap();
    let rows =
        [row(Some("a"), 0, 0), row(Some("a/+"), 0, 0), row(None, 0, 0), row(Some("full"), 0, 0), row(Some("b"), 0, 8)];
    let outcomes = target.write(&rows).await;
    assert_eq!(outcomes.len(), rows.len());
    assert_eq!(outcomes[0], Outcome::Delivered);
    assert_eq!(
        rejected(&outcomes[1]),
        "cannot republish to \"a/+\": a topic to publish to must not contain '+' or '#'"
    );
    assert_eq!(rejected(&outcomes[2]), "the row has no topic");
    assert!(matches!(outcomes[3], Outcome::Unavailable { .. }));
    assert_eq!(
        rejected(&outcomes[4]),
        "a loop of rules: the message passed through 8 of them, and r would publish it to \"b\" again"
    );
    assert_eq!(hub.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn nothing_is_published_when_every_row_is_wrong() {
    let (hub, target) = open(&[]).unwrap();
    target.write(&[row(Some(""), 0, 0)]).await;
    assert!(hub.0.lock().unwrap().is_empty());
}

/// A hub that behaves as the contract's test tells it to.
struct TestHub {
    behaviour: Arc<Mutex<Behaviour>>,
    taken: Arc<Mutex<Vec<String>>>,
}

impl Publisher for TestHub {
    fn publish<'a>(&'a self, _owner: &'a Principal, messages: Vec<Republish>) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let behaviour = *self.behaviour.lock().unwrap();
            let mut outcomes = Vec::new();
            for message in messages {
                let payload = String::from_utf8(message.payload.to_vec()).unwrap();
                if behaviour == Behaviour::Slow {
                    tokio::task::yield_now().await;
                }
                outcomes.push(match behaviour {
                    Behaviour::Gone => Outcome::Unavailable { reason: "the log is full".to_owned(), retry_after: None },
                    Behaviour::Refusing => Outcome::Rejected { reason: "not allowed".to_owned(), retry: false },
                    Behaviour::HalfBroken if payload.contains(BROKEN) => {
                        Outcome::Rejected { reason: "not allowed".to_owned(), retry: false }
                    }
                    _ => {
                        self.taken.lock().unwrap().push(payload);
                        Outcome::Delivered
                    }
                });
            }
            outcomes
        })
    }

    fn ask_shadows<'a>(&'a self, _owner: &'a Principal, _requests: Vec<Republish>) -> BoxFuture<'a, Vec<Outcome>> {
        panic!("this target asks nothing of shadows")
    }
}

impl OtherSide for TestHub {
    fn open(&self) -> Arc<dyn Target> {
        let hub = Self { behaviour: Arc::clone(&self.behaviour), taken: Arc::clone(&self.taken) };
        let settings = Settings(vec![("topic".to_owned(), "out/x".to_owned())]);
        RepublishKind::new(Arc::new(hub)).open(&settings, context()).unwrap()
    }

    fn behave(&self, behaviour: Behaviour) -> BoxFuture<'_, ()> {
        *self.behaviour.lock().unwrap() = behaviour;
        Box::pin(async {})
    }

    fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn the_contract_is_kept() {
    let hub = TestHub { behaviour: Arc::new(Mutex::new(Behaviour::Fine)), taken: Arc::default() };
    testkit::check(&hub).await;
}

#[test]
fn settings_are_checked() {
    let error = |settings: &[(&str, &str)]| open(settings).err().unwrap().to_string();
    assert_eq!(error(&[("topic", "a/#")]), "topic: a topic to publish to must not contain '+' or '#'");
    assert_eq!(error(&[("topic", "a"), ("qos", "2")]), "qos: write '0' or '1'");
}
