//! Settings of `republish`.

use weir_core::{
    Topic,
    seams::{SettingError, SettingSpec, SettingValue, Settings},
};

pub(super) const TOPIC: &str = "topic";
const QOS: &str = "qos";

pub(super) const SETTINGS: [SettingSpec; 2] = [
    SettingSpec { name: TOPIC, required: true, value: SettingValue::Topic },
    SettingSpec { name: QOS, required: false, value: SettingValue::Plain },
];

#[derive(Debug)]
pub(super) struct Config {
    /// `None`: each row brings its own.
    pub(super) topic: Option<String>,
    /// `None`: that of the source message.
    pub(super) qos: Option<u8>,
}

impl Config {
    pub(super) fn parse(settings: &Settings) -> Result<Self, SettingError> {
        let error = |setting: &str, reason: String| SettingError { setting: setting.to_owned(), reason };
        let topic = settings.get(TOPIC);
        if let Some(topic) = topic {
            Topic::check(topic).map_err(|reason| error(TOPIC, reason.to_string()))?;
        }
        let qos = match settings.get(QOS) {
            None => None,
            Some("0") => Some(0),
            Some("1") => Some(1),
            Some(_) => return Err(error(QOS, "write '0' or '1'".to_owned())),
        };
        Ok(Self { topic: topic.map(str::to_owned), qos })
    }
}
