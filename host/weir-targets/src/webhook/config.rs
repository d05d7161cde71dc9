//! Settings of `webhook`.

use std::{fmt, time::Duration};

use reqwest::Url;
use weir_core::seams::{SettingError, SettingSpec, SettingValue, Settings};

pub(super) const URL: &str = "url";
const TOKEN: &str = "token";
const TIMEOUT: &str = "timeout";

/// From the connecting to the last byte of the answer.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) const SETTINGS: [SettingSpec; 3] = [
    SettingSpec { name: URL, required: true, value: SettingValue::Url },
    SettingSpec { name: TOKEN, required: false, value: SettingValue::Secret },
    SettingSpec { name: TIMEOUT, required: false, value: SettingValue::Plain },
];

pub(super) struct Config {
    /// `None`: each row brings its own.
    pub(super) url: Option<Url>,
    pub(super) token: Option<String>,
    pub(super) timeout: Duration,
}

/// The URL may hold a secret as well as the token does.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Config {
    pub(super) fn parse(settings: &Settings) -> Result<Self, SettingError> {
        let error = |setting: &str, reason: String| SettingError { setting: setting.to_owned(), reason };
        let url = settings.get(URL).map(parse_url).transpose().map_err(|reason| error(URL, reason))?;
        let timeout = match settings.get(TIMEOUT) {
            None => DEFAULT_TIMEOUT,
            Some(text) => humantime::parse_duration(text)
                .ok()
                .filter(|timeout| !timeout.is_zero() && *timeout <= MAX_TIMEOUT)
                .ok_or_else(|| error(TIMEOUT, "write a time such as '5 s', at most '15 s'".to_owned()))?,
        };
        Ok(Self { url, token: settings.get(TOKEN).map(str::to_owned), timeout })
    }
}

/// The reason never repeats the text.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("not a URL: {error}"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err("begin with http:// or https://".to_owned()),
    }
}
