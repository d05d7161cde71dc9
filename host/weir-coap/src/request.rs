//! What a request asks for: the clean dialect, and the vendor's (vendor protocol §3.3).
//!
//! | Request | Meaning |
//! |---|---|
//! | `POST` or `PUT /PRODUCT/DEVICE/topic…` | publishes the payload |
//! | `GET /PRODUCT/DEVICE/topic…` with Observe 0 | subscribes; `+` and `#` may stand for levels; `?qos=0` for notifications that are not confirmed |
//! | the same with Observe 1 | ends it |
//! | `GET /shadow` | the device's shadow; `?name=NAME` for a named one |
//! | `PUT /shadow`, `PATCH` or `iPATCH` or `POST /shadow` | replaces, or merges, the parts given: `{"state": {"reported": {…}}, "version": 0}` |
//! | `GET /.well-known/core` | what there is |
//!
//! System topics, such as `$shadow/operation/PRODUCT/DEVICE`, are paths like others. Over UDP each request shows a token,
//! `?token=TOKEN`; where the path names no device, `?device=PRODUCT/DEVICE` does.

use serde::Deserialize;
use serde_json::{Map, Value};
use weir_core::{DeviceId, Qos, ShadowName, Topic, TopicFilter};

use crate::{
    codec::{Message, option},
    codes::Code,
    endpoint::{Response, is_vendors},
};

/// The last level of the path by which the vendor's SDK authenticates.
const AUTHENTICATE: &str = "txauth9w0BAQsFA";

/// What `/.well-known/core` says (RFC 6690).
pub const LINKS: &str = "</shadow>;rt=\"weir.shadow\";ct=50,</.well-known/core>;ct=40";

const TEXT: u32 = 0;
const LINK_FORMAT: u32 = 40;
pub const JSON: u32 = 50;

/// Content formats that have a media type by which other protocols know them.
const FORMATS: [(u32, &str); 9] = [
    (TEXT, "text/plain"),
    (41, "application/xml"),
    (42, "application/octet-stream"),
    (JSON, "application/json"),
    (60, "application/cbor"),
    (110, "application/senml+json"),
    (112, "application/senml+cbor"),
    (47, "application/exi"),
    (LINK_FORMAT, "application/link-format"),
];

#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    Discover,
    /// The vendor's: for a token that later requests show.
    Authenticate,
    Publish {
        topic: String,
        content_type: Option<&'static str>,
    },
    Subscribe {
        filter: TopicFilter,
        qos: Qos,
    },
    /// The observation has ended with this very request.
    Unsubscribe,
    ReadShadow {
        device: Option<DeviceId>,
        name: Option<ShadowName>,
    },
    ChangeShadow {
        device: Option<DeviceId>,
        name: Option<ShadowName>,
        change: Change,
        overwrite: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    pub state: Map<String, Value>,
    /// The version that the shadow must have; 0: any.
    #[serde(default)]
    pub version: u64,
}

/// Whose token a request shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown {
    pub device: DeviceId,
    pub token: String,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("device", &self.device).finish_non_exhaustive()
    }
}

/// The parameters that a query may have.
#[derive(Debug, Default)]
struct Query<'a> {
    token: Option<&'a str>,
    device: Option<DeviceId>,
    qos: Option<Qos>,
    name: Option<ShadowName>,
}

/// The token that a request shows, and of which device.
pub fn shown(message: &Message) -> Option<Shown> {
    let query = query(message).ok()?;
    let path = path(message).ok()?;
    let device = query.device.or_else(|| {
        let (product, device) = Topic::device_of(&path)?;
        Some(DeviceId { product: product.parse().ok()?, device: device.parse().ok()? })
    });
    Some(Shown { device: device?, token: query.token?.to_owned() })
}

/// The answer to [`Ask::Discover`].
pub fn links() -> Response {
    let format = option::of_uint(LINK_FORMAT);
    Response { payload: LINKS.into(), ..Response::of(Code::CONTENT) }.with(option::CONTENT_FORMAT, format)
}

/// Whether the request may be answered for anybody.
pub fn is_discovery(message: &Message) -> bool {
    message.code == Code::GET && message.all(option::URI_PATH).eq([b".well-known".as_slice(), b"core"])
}

pub fn read(message: &Message) -> Result<Ask, Response> {
    if is_discovery(message) {
        return accepting(message, LINK_FORMAT).map(|()| Ask::Discover);
    }
    let path = path(message)?;
    if path.is_empty() {
        return Err(refusal(Code::NOT_FOUND, "there is nothing at /; ask for /.well-known/core"));
    }
    if path == "shadow" {
        return shadow(message);
    }
    match message.code {
        Code::POST | Code::PUT => {
            query(message)?;
            if is_vendors(message) && path.ends_with(AUTHENTICATE) {
                return Ok(Ask::Authenticate);
            }
            let format = message.first(option::CONTENT_FORMAT).and_then(option::uint);
            let content_type = format.and_then(media_type);
            Ok(Ask::Publish { topic: path, content_type })
        }
        Code::GET => match message.first(option::OBSERVE).and_then(option::uint) {
            Some(0) => {
                let qos = query(message)?.qos.unwrap_or(Qos::AtLeastOnce);
                let filter = path.parse().map_err(|error| refusal(Code::BAD_REQUEST, &format!("the path: {error}")))?;
                Ok(Ask::Subscribe { filter, qos })
            }
            Some(1) => Ok(Ask::Unsubscribe),
            _ => Err(refusal(Code::METHOD_NOT_ALLOWED, "a topic is observed, or posted to")),
        },
        _ => Err(refusal(Code::METHOD_NOT_ALLOWED, "a topic is observed, or posted to")),
    }
}

fn shadow(message: &Message) -> Result<Ask, Response> {
    let Query { device, name, .. } = query(message)?;
    accepting(message, JSON)?;
    let overwrite = match message.code {
        Code::GET => return Ok(Ask::ReadShadow { device, name }),
        Code::PUT => true,
        Code::POST | Code::PATCH | Code::IPATCH => false,
        _ => return Err(refusal(Code::METHOD_NOT_ALLOWED, "a shadow is got, put or patched")),
    };
    let change: Change = serde_json::from_slice(&message.payload)
        .map_err(|error| refusal(Code::BAD_REQUEST, &format!("the payload: {error}")))?;
    if let Some(key) = change.state.keys().find(|key| !["reported", "desired"].contains(&key.as_str())) {
        return Err(refusal(Code::BAD_REQUEST, &format!("state: {key:?} is neither reported nor desired")));
    }
    Ok(Ask::ChangeShadow { device, name, change, overwrite })
}

/// Whether the client takes what there is.
fn accepting(message: &Message, format: u32) -> Result<(), Response> {
    match message.first(option::ACCEPT).and_then(option::uint) {
        Some(accepted) if accepted != format => Err(refusal(Code::NOT_ACCEPTABLE, "it comes in another format only")),
        _ => Ok(()),
    }
}

/// The levels of the path, joined: the vendor's SDK writes all into one option.
fn path(message: &Message) -> Result<String, Response> {
    let mut path = String::new();
    for (index, segment) in message.all(option::URI_PATH).enumerate() {
        if index > 0 {
            path.push('/');
        }
        path.push_str(text(segment)?);
    }
    Ok(path)
}

fn query(message: &Message) -> Result<Query<'_>, Response> {
    let mut query = Query::default();
    for parameter in message.all(option::URI_QUERY) {
        let parameter = text(parameter)?;
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let bad = || refusal(Code::BAD_REQUEST, &format!("the query: {name} has a bad value"));
        match name {
            "token" => query.token = Some(value),
            "device" => query.device = Some(value.parse().map_err(|_| bad())?),
            "name" => query.name = Some(value.parse().map_err(|_| bad())?),
            "qos" => {
                let qos = value.parse().ok().and_then(Qos::from_u8).filter(|qos| *qos <= Qos::AtLeastOnce);
                query.qos = Some(qos.ok_or_else(bad)?);
            }
            // The name alone: a value may be a secret that was misspelt.
            _ => return Err(refusal(Code::BAD_REQUEST, "the query has a parameter that is not known")),
        }
    }
    Ok(query)
}

fn text(value: &[u8]) -> Result<&str, Response> {
    std::str::from_utf8(value).map_err(|_| refusal(Code::BAD_REQUEST, "path and query must be UTF-8"))
}

fn refusal(code: Code, why: &str) -> Response {
    Response::refusal(code, why)
}

pub fn media_type(format: u32) -> Option<&'static str> {
    FORMATS.iter().find(|(number, _)| *number == format).map(|(_, name)| *name)
}

pub fn content_format(media_type: &str) -> Option<u32> {
    let plain = media_type.split(';').next().unwrap_or_default().trim();
    FORMATS.iter().find(|(_, name)| plain.eq_ignore_ascii_case(name)).map(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Kind;

    fn message(code: Code, path: &[&str], query: &[&str]) -> Message {
        let mut message = Message::new(Kind::Confirmable, code, 1);
        path.iter().for_each(|segment| message.add(option::URI_PATH, *segment));
        query.iter().for_each(|parameter| message.add(option::URI_QUERY, *parameter));
        message
    }

    fn observing(mut message: Message, value: u32) -> Message {
        message.add(option::OBSERVE, option::of_uint(value));
        message
    }

    #[test]
    fn topics_are_paths_in_both_dialects() {
        let topic = |path: &[&str]| match read(&message(Code::POST, path, &[])) {
            Ok(Ask::Publish { topic, .. }) => topic,
            other => panic!("{path:?}: {other:?}"),
        };
        assert_eq!(topic(&["A1B2C3D4E5", "dev", "event"]), "A1B2C3D4E5/dev/event");
        assert_eq!(topic(&["A1B2C3D4E5/dev/event"]), "A1B2C3D4E5/dev/event");
        assert_eq!(topic(&["$ota/report/A1B2C3D4E5/dev"]), "$ota/report/A1B2C3D4E5/dev");
        let authenticate = message(Code::POST, &["A1B2C3D4E5/dev/txauth9w0BAQsFA"], &[]);
        assert_eq!(read(&authenticate), Ok(Ask::Authenticate));
        let mut json = message(Code::POST, &["a", "b"], &[]);
        json.add(option::CONTENT_FORMAT, option::of_uint(50));
        let expected = Ask::Publish { topic: "a/b".to_owned(), content_type: Some("application/json") };
        assert_eq!(read(&json), Ok(expected));
    }

    #[test]
    fn observing_is_subscribing() {
        let path = ["A1B2C3D4E5", "dev", "+"];
        let filter: TopicFilter = "A1B2C3D4E5/dev/+".parse().unwrap();
        for (query, qos) in
            [(&[][..], Qos::AtLeastOnce), (&["qos=0"], Qos::AtMostOnce), (&["qos=1", "token=x"], Qos::AtLeastOnce)]
        {
            let request = observing(message(Code::GET, &path, query), 0);
            assert_eq!(read(&request), Ok(Ask::Subscribe { filter: filter.clone(), qos }));
        }
        assert_eq!(read(&observing(message(Code::GET, &path, &[]), 1)), Ok(Ask::Unsubscribe));
        for (request, code) in [
            (message(Code::GET, &path, &[]), Code::METHOD_NOT_ALLOWED),
            (observing(message(Code::GET, &path, &["qos=2"]), 0), Code::BAD_REQUEST),
            (observing(message(Code::GET, &["a", "#", "b"], &[]), 0), Code::BAD_REQUEST),
            (message(Code::POST, &path, &["tokem=secret"]), Code::BAD_REQUEST),
            (message(Code::GET, &[], &[]), Code::NOT_FOUND),
        ] {
            let refused = read(&request).unwrap_err();
            assert_eq!(refused.code, code, "{request:?}");
            assert!(!String::from_utf8_lossy(&refused.payload).contains("secret"));
        }
    }

    #[test]
    fn a_shadow_is_read_and_changed() {
        let name: ShadowName = "n".parse().unwrap();
        assert_eq!(
            read(&message(Code::GET, &["shadow"], &["name=n"])),
            Ok(Ask::ReadShadow { device: None, name: Some(name) })
        );
        let mut put = message(Code::PUT, &["shadow"], &[]);
        put.payload = br#"{"state":{"reported":{"a":1}}}"#.to_vec();
        assert!(matches!(read(&put), Ok(Ask::ChangeShadow { overwrite: true, .. })));
        put.code = Code::IPATCH;
        assert!(matches!(read(&put), Ok(Ask::ChangeShadow { overwrite: false, .. })));
        put.payload = br#"{"state":{"wished":{}}}"#.to_vec();
        assert_eq!(read(&put).unwrap_err().code, Code::BAD_REQUEST);
        let mut get = message(Code::GET, &["shadow"], &[]);
        get.add(option::ACCEPT, option::of_uint(60));
        assert_eq!(read(&get).unwrap_err().code, Code::NOT_ACCEPTABLE);
    }

    #[test]
    fn a_token_is_of_the_device_that_is_named() {
        let device: DeviceId = "A1B2C3D4E5/dev".parse().unwrap();
        let check = |path: &[&str], query: &[&str], expected: Option<&DeviceId>| {
            let found = shown(&message(Code::POST, path, query)).map(|shown| shown.device);
            assert_eq!(found.as_ref(), expected, "{path:?} {query:?}");
        };
        check(&["A1B2C3D4E5", "dev", "event"], &["token=t"], Some(&device));
        check(&["$shadow", "operation", "A1B2C3D4E5", "dev"], &["token=t"], Some(&device));
        check(&["shadow"], &["token=t", "device=A1B2C3D4E5/dev"], Some(&device));
        check(&["shadow"], &["token=t"], None);
        check(&["A1B2C3D4E5", "dev", "event"], &[], None);
    }

    #[test]
    fn media_types_and_content_formats_are_the_same() {
        assert_eq!(content_format("application/JSON; charset=utf-8"), Some(50));
        assert_eq!(content_format("image/png"), None);
        assert_eq!(media_type(60), Some("application/cbor"));
    }
}
