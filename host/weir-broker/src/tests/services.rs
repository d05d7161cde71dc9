//! Calls to devices, and the time.

use std::time::Duration;

use serde_json::json;
use weir_core::{DeviceId, ErrorKind, Qos, error::Classify};

use super::{
    hub::{administrator, application, device},
    sessions::{deliver, hub, payloads, publish, subscribe},
};
use crate::CallError;

fn id() -> DeviceId {
    "A1B2C3D4E5/a".parse().unwrap()
}

#[tokio::test]
async fn a_device_is_called_and_answers() {
    let hub = hub().await;
    let broker = &hub.running.broker;
    let (caller, device_id) = (administrator(), id());
    let call = |timeout: u64| broker.call(&caller, &device_id, b"on?", Duration::from_millis(timeout));
    assert_eq!(call(1_000).await, Err(CallError::Offline(id())));
    let mut session = hub.session(device("a")).await;
    assert_eq!(call(1_000).await, Err(CallError::NotSubscribed(id())));
    subscribe(&mut session, "$rrpc/rxd/A1B2C3D4E5/a/+", Qos::AtMostOnce).await.unwrap();

    let answering = async {
        let outbound = deliver(&mut session).await;
        let message = outbound.message(&outbound.rows()[0]);
        assert_eq!((message.payload, message.expiry), (&b"on?"[..], Some(10)));
        let number = message.topic.strip_prefix("$rrpc/rxd/A1B2C3D4E5/a/").unwrap().to_owned();
        publish(&mut session, &format!("$rrpc/txd/A1B2C3D4E5/a/{number}"), Qos::AtMostOnce, "yes").unwrap();
        number
    };
    let (answer, number) = futures::future::join(call(10_000), answering).await;
    let answer = answer.unwrap();
    assert_eq!((answer.payload.as_ref(), answer.id.to_string()), (&b"yes"[..], number));

    let silent = call(20).await.unwrap_err();
    assert!(matches!(silent, CallError::TimedOut { .. }), "{silent}");
    assert_eq!(silent.kind(), ErrorKind::Unavailable);
    assert_eq!(call(31_000).await, Err(CallError::Timeout));
    let denied = broker.call(&application("#"), &id(), b"", Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Forbidden);
    let nobody = "A1B2C3D4E5/nobody".parse().unwrap();
    let missing = broker.call(&administrator(), &nobody, b"", Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    drop(session);
    hub.running.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_device_is_told_the_time() {
    let hub = hub().await;
    let mut session = hub.session(device("a")).await;
    subscribe(&mut session, "$sys/operation/result/A1B2C3D4E5/a", Qos::AtLeastOnce).await.unwrap();
    for question in ["?", r#"{"type":"get","resource":["time"]}"#] {
        publish(&mut session, "$sys/operation/A1B2C3D4E5/a", Qos::AtMostOnce, question).unwrap();
    }
    let now = hub.clock.now();
    let expected = json!({"type": "get", "time": now.seconds(), "ntptime1": now, "ntptime2": now});
    assert_eq!(payloads(&mut session, 1).await, [expected.to_string()]);
    drop(session);
    hub.running.drain(Duration::from_secs(5)).await;
}
