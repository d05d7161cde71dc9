//! Settings of `shadow`.

use std::{fmt, str::FromStr};

use weir_core::{
    DeviceName, ProductId, ShadowName,
    seams::{SettingError, SettingSpec, SettingValue, Settings},
};

const PART: &str = "part";
pub(super) const PRODUCT: &str = "product";
pub(super) const DEVICE: &str = "device";
pub(super) const NAME: &str = "name";
pub(super) const VERSION: &str = "version";

pub(super) const SETTINGS: [SettingSpec; 5] = [
    SettingSpec { name: PART, required: true, value: SettingValue::Plain },
    SettingSpec { name: PRODUCT, required: false, value: SettingValue::Name },
    SettingSpec { name: DEVICE, required: false, value: SettingValue::Name },
    SettingSpec { name: NAME, required: false, value: SettingValue::Name },
    SettingSpec { name: VERSION, required: false, value: SettingValue::Name },
];

/// What is the same for all rows. `None`: a row brings its own, or it is not set.
#[derive(Debug)]
pub(super) struct Config {
    /// `reported` or `desired`.
    pub(super) part: &'static str,
    pub(super) product: Option<ProductId>,
    pub(super) device: Option<DeviceName>,
    pub(super) name: Option<ShadowName>,
    /// The version that the shadow must have.
    pub(super) version: Option<u64>,
}

impl Config {
    pub(super) fn parse(settings: &Settings) -> Result<Self, SettingError> {
        let part = match settings.get(PART) {
            Some("reported") => "reported",
            Some("desired") => "desired",
            _ => return Err(error(PART, "write 'reported' or 'desired'")),
        };
        Ok(Self {
            part,
            product: fixed(settings, PRODUCT)?,
            device: fixed(settings, DEVICE)?,
            name: fixed(settings, NAME)?,
            version: settings.get(VERSION).map(version).transpose().map_err(|reason| error(VERSION, reason))?,
        })
    }
}

/// A version that a shadow can have: 0 would mean any.
pub(super) fn version(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(version) if version > 0 => Ok(version),
        _ => Err("a version is a whole number above 0; without one, any will do".to_owned()),
    }
}

fn fixed<T>(settings: &Settings, setting: &str) -> Result<Option<T>, SettingError>
where
    T: FromStr<Err: fmt::Display>,
{
    settings.get(setting).map(str::parse).transpose().map_err(|reason| error(setting, reason))
}

fn error(setting: &str, reason: impl fmt::Display) -> SettingError {
    SettingError { setting: setting.to_owned(), reason: reason.to_string() }
}
