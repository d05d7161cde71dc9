//! The messages of vendor protocol §2.4, byte for byte, and what is refused.

use crate::{
    ErrorKind, Timestamp,
    error::Classify,
    shadow::{
        Document, DocumentLimits, Operation, Refusal, Request, ShadowTopic, deletion, delta_push, document_value,
        get_reply, refusal_reply, result_topic, update_reply,
    },
};

const LIMITS: DocumentLimits = DocumentLimits { bytes: 200 };
const START: Timestamp = Timestamp(1_700_000_000_500);

/// A shadow, and what is said on its result topic.
#[derive(Default)]
struct Shadow {
    document: Document,
    seconds: i64,
}

impl Shadow {
    /// Sends a request, a second after the last one. Returns the answer, and the delta that goes out with it.
    fn ask(&mut self, request: &str) -> (String, Option<String>) {
        let now = Timestamp(START.0 + self.seconds * 1_000);
        self.seconds += 1;
        let request = Request::read(request.as_bytes());
        let token = request.token.as_deref();
        let mut push = None;
        let outcome = match &request.operation {
            Ok(Operation::Get) => Ok(get_reply(&self.document, token, now)),
            Ok(Operation::Update(update)) => self.document.apply(update, LIMITS, now).map(|applied| {
                let reply = update_reply(update, &applied, token, now);
                self.document = applied.document.clone();
                if applied.news_for_device {
                    push = delta_push(&self.document, now);
                }
                reply
            }),
            Ok(Operation::Delete { version }) => self.document.delete(*version, now).map(|document| {
                self.document = document;
                deletion(&self.document, token, now)
            }),
            Err(refusal) => Err(refusal.clone()),
        };
        let reply = outcome.unwrap_or_else(|refusal| refusal_reply(request.kind, &refusal, &self.document, token, now));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(reply), push.map(text))
    }

    fn check(&mut self, request: &str, reply: &str, push: Option<&str>) {
        let (found, found_push) = self.ask(request);
        assert_eq!(found, reply, "{request}");
        assert_eq!(found_push.as_deref(), push, "{request}");
    }
}

#[test]
fn the_worked_examples() {
    let mut shadow = Shadow::default();
    // Where nothing is yet. A token that is a number comes back as text.
    shadow.check(
        r#"{"type":"get","clientToken":8480}"#,
        r#"{"type":"get","result":0,"timestamp":1700000000,"clientToken":"8480","payload":{"state":{},"metadata":{},"version":0}}"#,
        None,
    );
    shadow.check(
        r#"{"type":"update","state":{"reported":{"temp":27}},"version":0,"clientToken":"A-1"}"#,
        r#"{"type":"update","result":0,"timestamp":1700000001,"clientToken":"A-1","payload":{"state":{"reported":{"temp":27}},"metadata":{"reported":{"temp":{"timestamp":1700000001500}}},"version":1,"timestamp":1700000001500}}"#,
        None,
    );
    // An application wants something else: the answer is for it, the delta for the device.
    shadow.check(
        r#"{"type":"update","state":{"desired":{"temp":25}},"version":1,"clientToken":"app"}"#,
        r#"{"type":"update","result":0,"timestamp":1700000002,"clientToken":"app","payload":{"state":{"desired":{"temp":25}},"metadata":{"desired":{"temp":{"timestamp":1700000002500}}},"version":2,"timestamp":1700000002500}}"#,
        Some(
            r#"{"type":"delta","timestamp":1700000002,"payload":{"state":{"temp":25},"metadata":{"temp":{"timestamp":1700000002500}},"version":2,"timestamp":1700000002500}}"#,
        ),
    );
    shadow.check(
        r#"{"type":"get","clientToken":"A-2"}"#,
        r#"{"type":"get","result":0,"timestamp":1700000003,"clientToken":"A-2","payload":{"state":{"reported":{"temp":27},"desired":{"temp":25},"delta":{"temp":25}},"metadata":{"reported":{"temp":{"timestamp":1700000001500}},"desired":{"temp":{"timestamp":1700000002500}},"delta":{"temp":{"timestamp":1700000002500}}},"version":2,"timestamp":1700000002500}}"#,
        None,
    );
    // Another version than the hub's: the whole document comes with the refusal.
    shadow.check(
        r#"{"type":"update","state":{"reported":{"temp":26}},"version":1,"clientToken":"A-3"}"#,
        r#"{"type":"update","result":5005,"timestamp":1700000004,"clientToken":"A-3","payload":{"state":{"reported":{"temp":27},"desired":{"temp":25},"delta":{"temp":25}},"metadata":{"reported":{"temp":{"timestamp":1700000001500}},"desired":{"temp":{"timestamp":1700000002500}},"delta":{"temp":{"timestamp":1700000002500}}},"version":2,"timestamp":1700000002500}}"#,
        None,
    );
    // The device has done it, and clears what was desired.
    shadow.check(
        r#"{"type":"update","state":{"reported":{"temp":25},"desired":null},"version":2,"clientToken":"A-4"}"#,
        r#"{"type":"update","result":0,"timestamp":1700000005,"clientToken":"A-4","payload":{"state":{"reported":{"temp":25},"desired":null},"metadata":{"reported":{"temp":{"timestamp":1700000005500}},"desired":{"temp":{"timestamp":1700000005500}}},"version":3,"timestamp":1700000005500}}"#,
        None,
    );
    // `null` deletes a key; without a token there is none in the answer.
    shadow.check(
        r#"{"type":"update","state":{"reported":{"temp":null,"mode":"cool"}}}"#,
        r#"{"type":"update","result":0,"timestamp":1700000006,"payload":{"state":{"reported":{"temp":null,"mode":"cool"}},"metadata":{"reported":{"temp":{"timestamp":1700000006500},"mode":{"timestamp":1700000006500}}},"version":4,"timestamp":1700000006500}}"#,
        None,
    );
    shadow.check(
        r#"{"type":"update","state":{"reported":{"fan":1}},"overwriteUpdate":true}"#,
        r#"{"type":"update","result":0,"timestamp":1700000007,"payload":{"state":{"reported":{"fan":1}},"metadata":{"reported":{"fan":{"timestamp":1700000007500}}},"version":5,"timestamp":1700000007500}}"#,
        None,
    );
    let shown = r#"{"state":{"reported":{"fan":1}},"metadata":{"reported":{"fan":{"timestamp":1700000007500}}},"version":5,"timestamp":1700000007500}"#;
    assert_eq!(document_value(&shadow.document).to_string(), shown);
    // The version goes on, so that a later delta is not taken for an old one.
    shadow.check(
        r#"{"type":"delete","clientToken":"A-5"}"#,
        r#"{"type":"delete","result":0,"timestamp":1700000008,"clientToken":"A-5","payload":{"state":{},"metadata":{},"version":6,"timestamp":1700000008500}}"#,
        None,
    );
}

#[test]
fn the_device_is_told_what_is_new_to_it() {
    let check = |shadow: &mut Shadow, state: &str, expected: Option<&str>| {
        let (reply, push) = shadow.ask(&format!(r#"{{"type":"update","state":{state}}}"#));
        assert!(reply.contains(r#""result":0"#), "{reply}");
        let told =
            push.map(|push| serde_json::from_str::<serde_json::Value>(&push).unwrap()["payload"]["state"].to_string());
        assert_eq!(told.as_deref(), expected, "{state}");
    };
    let mut shadow = Shadow::default();
    check(&mut shadow, r#"{"desired":{"fw":"1.2","net":{"a":1,"b":2}}}"#, Some(r#"{"fw":"1.2","net":{"a":1,"b":2}}"#));
    // Nearer, which the device itself says.
    check(&mut shadow, r#"{"reported":{"fw":"1.2"}}"#, None);
    check(&mut shadow, r#"{"reported":{"temp":20}}"#, None);
    // Part of an object is other than it was.
    check(&mut shadow, r#"{"reported":{"net":{"a":1.0}}}"#, Some(r#"{"net":{"b":2}}"#));
    // Further away again.
    check(&mut shadow, r#"{"reported":{"fw":"1.1"}}"#, Some(r#"{"fw":"1.2","net":{"b":2}}"#));
    // Said again is told again.
    check(&mut shadow, r#"{"desired":{"fw":"1.2"}}"#, Some(r#"{"fw":"1.2","net":{"b":2}}"#));
    check(&mut shadow, r#"{"desired":{"fw":null,"net":null}}"#, None);
    assert!(shadow.document.desired().is_empty());
    check(&mut shadow, r#"{"desired":{"fw":"1.1"}}"#, None);
}

#[test]
fn what_is_not_valid_is_refused_with_its_reason() {
    let mut shadow = Shadow::default();
    shadow.ask(r#"{"type":"update","state":{"reported":{"a":1}}}"#);
    let before = shadow.document.clone();
    let long = format!(r#"{{"type":"update","state":{{"reported":{{"x":"{}"}}}}}}"#, "x".repeat(200));
    for (request, code, message) in [
        ("", 5001, "EOF"),
        ("[]", 5001, "not an object"),
        (r#"{"type":"set"}"#, 5001, "type is not get, update or delete"),
        (r#"{"type":"update"}"#, 5001, "state is not an object"),
        (r#"{"type":"update","state":{}}"#, 5001, "neither reported nor desired"),
        (r#"{"type":"update","state":{"reported":1}}"#, 5001, "reported is not an object"),
        (r#"{"type":"update","state":{"reported":{"a":[1,null]}}}"#, 5001, "an array in reported holds null"),
        (r#"{"type":"update","state":{"desired":{"a":[{"b":null}]}}}"#, 5001, "an array in desired holds null"),
        (r#"{"type":"update","state":{"reported":{}},"version":-1}"#, 5001, "version is not a whole number"),
        (r#"{"type":"update","state":{"reported":{}},"overwriteUpdate":1}"#, 5001, "overwriteUpdate"),
        (r#"{"type":"update","state":{"reported":{"a":{"b":{"c":{"d":{"e":1}}}}}}}"#, 0, ""),
        (
            r#"{"type":"update","state":{"reported":{"a":{"b":{"c":{"d":{"e":{}}}}}}}}"#,
            5002,
            "levels deep, and this one is 6",
        ),
        (&long, 5003, "the shadow would have"),
    ] {
        if code == 0 {
            continue;
        }
        let (reply, push) = shadow.ask(request);
        let reply: serde_json::Value = serde_json::from_str(&reply).unwrap();
        assert_eq!((reply["result"].as_u64(), push), (Some(code), None), "{request}");
        assert!(reply["message"].as_str().unwrap().contains(message), "{request}: {reply}");
        assert!(reply["payload"].is_object(), "{request}");
    }
    assert_eq!(shadow.document, before);
    let (reply, _) = shadow.ask(r#"{"type":"update","state":{"reported":{"a":{"b":{"c":{"d":{"e":1}}}}}}}"#);
    assert!(reply.contains(r#""result":0"#), "{reply}");
    assert_eq!(Refusal::TooLarge { size: 2, limit: 1 }.kind(), ErrorKind::TooLarge);
}

/// One that the limit was lowered below stays, and may become smaller.
#[test]
fn a_document_above_the_limit_may_shrink() {
    let update = |text: &str| match Request::read(text.as_bytes()).operation {
        Ok(Operation::Update(update)) => update,
        other => panic!("{other:?}"),
    };
    let large = update(&format!(
        r#"{{"type":"update","state":{{"reported":{{"x":"{}","y":"{}"}}}}}}"#,
        "x".repeat(300),
        "y".repeat(300)
    ));
    let document = Document::default().apply(&large, DocumentLimits { bytes: 1_000 }, START).unwrap().document;
    let smaller = update(r#"{"type":"update","state":{"reported":{"x":null}}}"#);
    assert_eq!(document.apply(&smaller, LIMITS, START).unwrap().document.version(), 2);
    let larger = update(r#"{"type":"update","state":{"reported":{"z":1}}}"#);
    assert!(matches!(document.apply(&larger, LIMITS, START), Err(Refusal::TooLarge { .. })));
}

#[test]
fn topics_of_requests() {
    let check = |topic: &str, expected: Option<(&str, Option<&str>)>| {
        let found = ShadowTopic::of_request(topic);
        let told = found.as_ref().map(|found| (found.device.to_string(), found.name.as_ref().map(ToString::to_string)));
        let expected = expected.map(|(device, name)| (device.to_owned(), name.map(str::to_owned)));
        assert_eq!(told, expected, "{topic}");
        if let Some(found) = found {
            assert_eq!(found.request(), topic);
            assert_eq!(ShadowTopic::of_request(&result_topic(&found.device, found.name.as_ref())), None);
        }
    };
    check("$shadow/operation/A1B2C3D4E5/dev", Some(("A1B2C3D4E5/dev", None)));
    check("$shadow/name/fw/operation/A1B2C3D4E5/dev", Some(("A1B2C3D4E5/dev", Some("fw"))));
    check("$shadow/operation/result/A1B2C3D4E5/dev", None);
    check("$shadow/name/fw/operation/result/A1B2C3D4E5/dev", None);
    check("$shadow/name/f.w/operation/A1B2C3D4E5/dev", None);
    check("$shadow/name/operation/A1B2C3D4E5/dev", None);
    check("$shadow/operation/A1B2C3D4E5/dev/x", None);
    check("$shadow/operation/A1B2C3D4E5", None);
    check("A1B2C3D4E5/dev/event", None);
}
