use std::sync::{Arc, Mutex};

use bytes::Bytes;
use weir_core::{
    Offset, Principal,
    seams::{
        BoxFuture, Delivery, IdempotenceKey, Outcome, Publisher, Republish, SettingError, Settings, Target,
        TargetContext, TargetKind,
    },
};

use super::ShadowKind;

/// Keeps what was asked, and refuses what is asked of the device `full`.
#[derive(Default)]
struct Hub(Mutex<Vec<Republish>>);

impl Publisher for Hub {
    fn publish<'a>(&'a self, _owner: &'a Principal, _messages: Vec<Republish>) -> BoxFuture<'a, Vec<Outcome>> {
        panic!("this target asks of shadows only")
    }

    fn ask_shadows<'a>(&'a self, owner: &'a Principal, requests: Vec<Republish>) -> BoxFuture<'a, Vec<Outcome>> {
        assert_eq!(owner, &context().owner);
        let outcome = |request: &Republish| match request.topic.ends_with("/full") {
            true => Outcome::Rejected { reason: "too large".to_owned(), retry: true },
            false => Outcome::Delivered,
        };
        let outcomes = requests.iter().map(outcome).collect();
        self.0.lock().unwrap().extend(requests);
        Box::pin(async { outcomes })
    }
}

fn context() -> TargetContext {
    let owner = Principal::Administrator("admin".parse().unwrap());
    TargetContext { rule: "r".parse().unwrap(), owner, sink: None, grants: Vec::new() }
}

fn open(settings: &[(&str, &str)]) -> Result<(Arc<Hub>, Arc<dyn Target>), SettingError> {
    let hub = Arc::new(Hub::default());
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let target = ShadowKind::new(hub.clone()).open(&Settings(settings), context())?;
    Ok((hub, target))
}

fn row(payload: &'static str, arguments: &[(&str, &str)]) -> Delivery {
    Delivery {
        key: IdempotenceKey { offset: Offset::new(1, 7), rule: "r".parse().unwrap(), row: 0 },
        topic: "A1B2C3D4E5/dev/event".to_owned(),
        product: Some("A1B2C3D4E5".to_owned()),
        device: Some("dev".to_owned()),
        accepted_at: 0,
        qos: 0,
        hop: 0,
        payload: Bytes::from_static(payload.as_bytes()),
        arguments: arguments.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        failure: None,
    }
}

/// The topic and the payload that a row makes, or why it makes none.
async fn check(settings: &[(&str, &str)], row: Delivery, expected: Result<(&str, &str), &str>) {
    let (hub, target) = open(settings).unwrap();
    let outcome = target.write(std::slice::from_ref(&row)).await.pop().unwrap();
    let asked = hub.0.lock().unwrap().pop();
    match expected {
        Ok((topic, payload)) => {
            let asked = asked.unwrap_or_else(|| panic!("{outcome:?}"));
            assert_eq!((asked.topic.as_str(), std::str::from_utf8(&asked.payload).unwrap()), (topic, payload));
            assert_eq!((asked.qos, asked.hop, outcome), (1, 1, Outcome::Delivered));
        }
        Err(expected) => {
            assert_eq!(asked, None);
            assert_eq!(outcome, Outcome::Rejected { reason: expected.to_owned(), retry: false });
        }
    }
}

#[tokio::test]
async fn rows_become_updates() {
    const REPORTED: &[(&str, &str)] = &[("part", "reported")];
    const OTHERS: &[(&str, &str)] = &[("part", "desired"), ("product", "B1B2C3D4E5"), ("device", "panel")];
    let update = |state: &str, version: u64| {
        format!(r#"{{"type":"update","state":{state},"version":{version},"overwriteUpdate":false}}"#)
    };
    let own = "$shadow/operation/A1B2C3D4E5/dev";
    // The device that the message is of; what is NULL deletes its key.
    let payload = update(r#"{"reported":{"temp":31,"fw":null}}"#, 0);
    check(REPORTED, row(r#"{"temp":31,"fw":null}"#, &[]), Ok((own, &payload))).await;
    let payload = update(r#"{"desired":{"on":true}}"#, 0);
    check(OTHERS, row(r#"{"on":true}"#, &[]), Ok(("$shadow/operation/B1B2C3D4E5/panel", &payload))).await;
    let named = [("part", "desired"), ("name", "net")];
    check(&named, row(r#"{"on":true}"#, &[]), Ok(("$shadow/name/net/operation/A1B2C3D4E5/dev", &payload))).await;
    // What a row brings.
    let arguments = [("device", "lamp"), ("name", "fw"), ("version", "7")];
    let payload = update(r#"{"reported":{}}"#, 7);
    check(REPORTED, row("{}", &arguments), Ok(("$shadow/name/fw/operation/A1B2C3D4E5/lamp", &payload))).await;

    let no_device = "device: device name \"a/b\" is not valid: use 1 to 48 letters, digits, ':', '_' or '-'";
    check(REPORTED, row("{}", &[("device", "a/b")]), Err(no_device)).await;
    let no_version = "a version is a whole number above 0; without one, any will do";
    check(REPORTED, row("{}", &[("version", "0")]), Err(no_version)).await;
    let no_object = "the row is not a JSON object, so it cannot be merged into reported";
    check(REPORTED, row("[1]", &[]), Err(no_object)).await;
    let of_none = Delivery { product: None, device: None, ..row("{}", &[]) };
    let whose = "the message is of no device; say whose shadow is meant by product => '…'";
    check(REPORTED, of_none, Err(whose)).await;
    let looping = Delivery { hop: 8, ..row("{}", &[]) };
    let cut = format!("a loop of rules: the message passed through 8 of them, and r would publish it to {own:?} again");
    check(REPORTED, looping, Err(&cut)).await;
}

#[tokio::test]
async fn outcomes_stand_in_the_order_of_the_rows() {
    let (_hub, target) = open(&[("part", "desired")]).unwrap();
    let rows = [row("{}", &[]), row("1", &[]), row("{}", &[("device", "full")]), row("{}", &[])];
    let outcomes = target.write(&rows).await;
    assert_eq!((&outcomes[0], &outcomes[3]), (&Outcome::Delivered, &Outcome::Delivered));
    assert!(matches!(outcomes[1], Outcome::Rejected { retry: false, .. }));
    assert_eq!(outcomes[2], Outcome::Rejected { reason: "too large".to_owned(), retry: true });
}

#[test]
fn settings_are_checked() {
    let error = |settings: &[(&str, &str)]| open(settings).err().unwrap().to_string();
    assert_eq!(error(&[("part", "delta")]), "part: write 'reported' or 'desired'");
    assert_eq!(
        error(&[("part", "desired"), ("product", "short")]),
        "product: product id \"short\" is not valid: use exactly 10 upper-case letters or digits"
    );
    assert_eq!(
        error(&[("part", "desired"), ("version", "0")]),
        "version: a version is a whole number above 0; without one, any will do"
    );
}

#[test]
fn a_topic_that_is_known_is_told() {
    let topic = |settings: &[(&str, &str)]| open(settings).unwrap().1.publishes_to();
    assert_eq!(topic(&[("part", "desired")]), None);
    let fixed = [("part", "desired"), ("product", "A1B2C3D4E5"), ("device", "lamp")];
    assert_eq!(topic(&fixed).as_deref(), Some("$shadow/operation/A1B2C3D4E5/lamp"));
}
