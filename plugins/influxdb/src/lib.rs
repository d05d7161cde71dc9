//! Rows as points in InfluxDB, by its line protocol over HTTP (1.x, and 2.x through its compatible `/write`).
//!
//! ```sql
//! CREATE SINK tsdb USING plugin.influxdb
//!   WITH (url = 'http://127.0.0.1:8086', database = 'iot', measurement = 'telemetry', tags = 'room')
//!   GRANT http '127.0.0.1:8086';
//! ```
//!
//! The device and its product are tags, and so are the fields that `tags` names. The other fields of a row are fields of
//! the point: numbers, texts and booleans as they are, objects one level down as `outer.inner`; the rest is left out. Every
//! number is a float, so that `30` and `30.5` are the same field. The time is that of the message.
//!
//! Writing a row twice writes the same point.

use std::fmt::Write;

use weir_guest::{
    Outcome, Rows, Sink, Verdicts, http,
    serde::Deserialize,
    serde_json::{Map, Value},
};

#[derive(Deserialize)]
#[serde(crate = "weir_guest::serde", deny_unknown_fields)]
pub struct Settings {
    /// The server, such as `http://127.0.0.1:8086`.
    url: String,
    database: String,
    /// `telemetry` if it is not given.
    measurement: Option<String>,
    /// Names of fields, with commas.
    tags: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

pub struct Influxdb {
    url: String,
    authorization: Option<String>,
    measurement: String,
    tags: Vec<String>,
}

impl Sink for Influxdb {
    type Settings = Settings;

    fn open(settings: Settings) -> Result<Self, String> {
        if !settings.url.starts_with("http://") && !settings.url.starts_with("https://") {
            return Err("url: begin with http:// or https://".to_owned());
        }
        if settings.database.is_empty() {
            return Err("database: name one".to_owned());
        }
        let database = encoded(&settings.database);
        let authorization = match (settings.username, settings.password) {
            (Some(username), Some(password)) => Some(format!("Token {username}:{password}")),
            (None, None) => None,
            _ => return Err("username and password are given together, or neither is".to_owned()),
        };
        let names = settings.tags.as_deref().unwrap_or_default().split(',').map(str::trim);
        Ok(Self {
            url: format!("{}/write?db={database}&precision=ms", settings.url.trim_end_matches('/')),
            authorization,
            measurement: settings.measurement.unwrap_or_else(|| "telemetry".to_owned()),
            tags: names.filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        })
    }

    /// All rows in one request. If the server finds one of them wrong, each is sent by itself, so that the others pass.
    fn write(&mut self, rows: &Rows) -> Verdicts {
        let mut verdicts = Verdicts::delivered();
        let mut lines = Vec::with_capacity(rows.len());
        for row in rows.iter() {
            let point = row.json::<Map<String, Value>>().and_then(|fields| {
                self.point(row.product(), row.device(), row.time(), &fields)
                    .ok_or_else(|| "the row has no field that InfluxDB can hold".to_owned())
            });
            match point {
                Ok(line) => lines.push((row.index(), line)),
                Err(reason) => verdicts.say(row.index(), Outcome::Rejected(reason)),
            }
        }
        if lines.is_empty() {
            return verdicts;
        }
        let body = lines.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n");
        let mut outcome = self.send(&body);
        if matches!(outcome, Outcome::Refused(_)) && lines.len() > 1 {
            for (index, line) in &lines {
                if !matches!(outcome, Outcome::Unavailable { .. }) {
                    outcome = self.send(line);
                }
                verdicts.say(*index, outcome.clone());
            }
        } else {
            lines.iter().for_each(|(index, _)| verdicts.say(*index, outcome.clone()));
        }
        verdicts
    }
}

impl Influxdb {
    fn send(&self, body: &str) -> Outcome {
        let request = http::post(&self.url).body(body);
        match &self.authorization {
            Some(authorization) => request.header("authorization", authorization).send().into(),
            None => request.send().into(),
        }
    }

    /// A line of the protocol; nothing if there is no field.
    fn point(
        &self,
        product: Option<&str>,
        device: Option<&str>,
        time: i64,
        fields: &Map<String, Value>,
    ) -> Option<String> {
        let mut line = escaped(&self.measurement, &[',', ' ']);
        let mut tag = |name: &str, value: &str| {
            if !value.is_empty() {
                let _written = write!(line, ",{}={}", escaped(name, TAG), escaped(value, TAG));
            }
        };
        product.into_iter().for_each(|product| tag("product", product));
        device.into_iter().for_each(|device| tag("device", device));
        for name in &self.tags {
            match fields.get(name) {
                Some(Value::String(value)) => tag(name, value),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => tag(name, &value.to_string()),
                _ => {}
            }
        }
        let mut separator = ' ';
        let mut field = |name: &str, value: &Value| {
            let shown = match value {
                // A point has floats or integers under a name, and the first decides: so all are floats.
                Value::Number(number) => number.as_f64().map(|number| number.to_string()),
                Value::Bool(value) => Some(value.to_string()),
                Value::String(text) => Some(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))),
                _ => None,
            };
            if let Some(shown) = shown {
                let _written = write!(line, "{separator}{}={shown}", escaped(name, TAG));
                separator = ',';
            }
        };
        for (name, value) in fields.iter().filter(|(name, _)| !self.tags.contains(name)) {
            match value {
                Value::Object(inner) => {
                    inner.iter().for_each(|(key, value)| field(&format!("{name}.{key}"), value));
                }
                value => field(name, value),
            }
        }
        if separator == ' ' {
            return None;
        }
        let _written = write!(line, " {time}");
        Some(line)
    }
}

const TAG: &[char] = &[',', '=', ' '];

/// A line break ends a point, so it cannot stand in a name.
fn escaped(text: &str, special: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        let character = if matches!(character, '\n' | '\r') { ' ' } else { character };
        if special.contains(&character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte as char),
            byte => {
                let _written = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

weir_guest::export_sink!(Influxdb);

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use weir_guest::{http::Response, sink, testing};

    use super::*;

    fn open(settings: &str) -> Result<Influxdb, String> {
        sink::open(settings)
    }

    fn plain() -> Influxdb {
        open(r#"{"url":"http://db:8086/","database":"my iot","tags":"room"}"#).unwrap()
    }

    /// Keeps what is sent, and answers a body by `status`.
    fn serve(status: impl Fn(&str) -> u16 + 'static) -> Rc<RefCell<Vec<(String, String)>>> {
        let sent = Rc::new(RefCell::new(Vec::new()));
        let keep = Rc::clone(&sent);
        testing::serve_http(move |request| {
            let body = String::from_utf8(request.body.clone()).unwrap();
            let status = status(&body);
            keep.borrow_mut().push((request.url.clone(), body));
            Ok(Response { status, body: b"no such field\nmore".to_vec(), ..Response::default() })
        });
        sent
    }

    #[test]
    fn rows_are_lines_of_one_request() {
        let sent = serve(|_| 204);
        let rows = testing::rows(&[
            r#"{"temp":31,"ok":true,"room":"a, b","s":"say \"x\"","pos":{"lat":1.5,"in":[1]},"list":[1]}"#,
            r#"{"temp":-0.25,"k e=y,":1}"#,
        ]);
        assert_eq!(plain().write(&rows), Verdicts::delivered());
        let expected = "telemetry,product=A1B2C3D4E5,device=dev,room=a\\,\\ b \
                        ok=true,pos.lat=1.5,s=\"say \\\"x\\\"\",temp=31 1700000000000\n\
                        telemetry,product=A1B2C3D4E5,device=dev k\\ e\\=y\\,=1,temp=-0.25 1700000000001";
        let url = "http://db:8086/write?db=my%20iot&precision=ms".to_owned();
        assert_eq!(*sent.borrow(), [(url, expected.to_owned())]);
    }

    #[test]
    fn what_cannot_be_a_point_is_rejected_alone() {
        serve(|_| 204);
        let verdicts = plain().write(&testing::rows(&["[1]", r#"{"list":[1]}"#, r#"{"temp":1}"#, "no json"]));
        assert!(matches!(verdicts.of(0), Outcome::Rejected(_)));
        assert_eq!(verdicts.of(1), Outcome::Rejected("the row has no field that InfluxDB can hold".to_owned()));
        assert_eq!(verdicts.of(2), Outcome::Delivered);
        assert_eq!(verdicts.of(3), Outcome::Rejected("the row is not JSON (line 1, column 2)".to_owned()));
    }

    #[test]
    fn a_row_that_the_server_finds_wrong_does_not_hold_up_the_others() {
        let sent = serve(|body| if body.contains("bad") { 400 } else { 204 });
        let verdicts = plain().write(&testing::rows(&[r#"{"a":1}"#, r#"{"bad":1}"#, r#"{"b":1}"#]));
        assert_eq!(verdicts.of(0), Outcome::Delivered);
        assert_eq!(verdicts.of(1), Outcome::Refused("the server answered 400: no such field".to_owned()));
        assert_eq!(verdicts.of(2), Outcome::Delivered);
        assert_eq!(sent.borrow().len(), 4);
    }

    #[test]
    fn a_server_in_trouble_keeps_every_row() {
        serve(|_| 503);
        let verdicts = plain().write(&testing::rows(&[r#"{"a":1}"#, r#"{"a":2}"#]));
        assert!((0..2).all(|row| matches!(verdicts.of(row), Outcome::Unavailable { .. })), "{verdicts:?}");
    }

    #[test]
    fn settings_are_checked() {
        let error = |settings: &str| open(settings).err().unwrap();
        assert_eq!(error(r#"{"database":"d"}"#), "missing field `url`");
        assert_eq!(error(r#"{"url":"db","database":"d"}"#), "url: begin with http:// or https://");
        assert!(error(r#"{"url":"http://x","database":"d","tag":"x"}"#).starts_with("unknown field `tag`, expected one of"));
        let half = r#"{"url":"http://x","database":"d","username":"u"}"#;
        assert_eq!(error(half), "username and password are given together, or neither is");
    }
}
