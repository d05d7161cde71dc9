//! Names of things. Each is its own type and is checked once, when it is made.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Classify, ErrorKind};

/// A name that breaks the rule of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} is not valid: {rule}")]
pub struct InvalidName {
    pub(crate) kind: &'static str,
    pub(crate) text: String,
    pub(crate) rule: &'static str,
}

impl Classify for InvalidName {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(Arc::from(text)))
                } else {
                    Err(InvalidName { kind: $kind, text: text.chars().take(64).collect(), rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// A product: ten upper-case letters or digits (vendor protocol §1). The fixed length is what makes a client id
    /// `PRODUCTdevice` unambiguous.
    ProductId,
    "product id",
    "use exactly 10 upper-case letters or digits",
    |text| text.len() == 10 && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
);
name!(
    /// A device within its product: 1 to 48 of `a-z A-Z 0-9 : _ -` (vendor protocol §1).
    DeviceName,
    "device name",
    "use 1 to 48 letters, digits, ':', '_' or '-'",
    |text| (1..=48).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-'))
);
name!(
    /// What follows `PRODUCT/DEVICE/` in the topics of a class (vendor protocol §1, §2.3). Every class that the vendor's
    /// hub takes is taken: its bounds on a topic are bounds of the suffix here, so that a device's name leaves room.
    TopicSuffix,
    "topic suffix",
    "use at most 255 letters, digits and underscores, in at most 11 levels between slashes; a level may be '+'",
    |text| text.len() <= 255
        && text.split('/').count() <= 11
        && text.split('/').all(|level| level == "+"
            || (!level.is_empty() && level.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')))
);
name!(
    /// A rule: 1 to 64 letters, digits or underscores, not starting with a digit, so that SQL needs no quotes.
    RuleName,
    "rule name",
    "use 1 to 64 letters, digits or underscores, not starting with a digit",
    is_sql_name
);
name!(
    /// A plugin: same form as a rule's name, so that `plugin.NAME` needs no quotes.
    PluginName,
    "plugin name",
    "use 1 to 64 letters, digits or underscores, not starting with a digit",
    is_sql_name
);
name!(
    /// A sink: same form as a rule's name.
    SinkName,
    "sink name",
    "use 1 to 64 letters, digits or underscores, not starting with a digit",
    is_sql_name
);
name!(
    /// An index that a user declares: same form as a rule's name.
    IndexName,
    "index name",
    "use 1 to 64 letters, digits or underscores, not starting with a digit",
    is_sql_name
);
name!(
    /// A secret that rules refer to by `secret('NAME')`.
    SecretName,
    "secret name",
    "use 1 to 64 letters, digits, '_', '-' or '.'",
    is_label
);
name!(
    /// A shadow that a device has beside its classic one: the rule of a device's name, and a little longer.
    ShadowName,
    "shadow name",
    "use 1 to 64 letters, digits, ':', '_' or '-'",
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-'))
);
name!(
    /// A key of an application or an administrator.
    KeyName,
    "key name",
    "use 1 to 64 letters, digits, '_', '-' or '.'",
    is_label
);

fn is_sql_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !text.starts_with(|c: char| c.is_ascii_digit())
}

fn is_label(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// A device, everywhere: its product and its name. Written `PRODUCT/DEVICE`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceId {
    pub product: ProductId,
    pub device: DeviceName,
}

impl DeviceId {
    /// Reads `PRODUCTdevice`, the form of the vendor's client ids and PSK identities: a product id has ten characters.
    pub fn from_joined(text: &str) -> Option<Self> {
        let (product, device) = text.split_at_checked(10)?;
        Some(Self { product: product.parse().ok()?, device: device.parse().ok()? })
    }

    /// Writes what [`DeviceId::from_joined`] reads.
    pub fn joined(&self) -> String {
        format!("{}{}", self.product, self.device)
    }
}

impl FromStr for DeviceId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let Some((product, device)) = text.split_once('/') else {
            return Err(InvalidName {
                kind: "device",
                text: text.chars().take(64).collect(),
                rule: "write PRODUCT/DEVICE",
            });
        };
        Ok(Self { product: product.parse()?, device: device.parse()? })
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.product, self.device)
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_when_made() {
        assert!("A1B2C3D4E5".parse::<ProductId>().is_ok());
        assert!("a1b2c3d4e5".parse::<ProductId>().is_err());
        assert!("A1B2C3D4E".parse::<ProductId>().is_err());
        assert!("dev:0_1-x".parse::<DeviceName>().is_ok());
        assert!("".parse::<DeviceName>().is_err());
        assert!("dev/1".parse::<DeviceName>().is_err());
        assert!("overheat_2".parse::<RuleName>().is_ok());
        assert!("2overheat".parse::<RuleName>().is_err());
        for (suffix, expected) in [
            ("up", true),
            ("up/+/Raw_1", true),
            ("+", true),
            ("a/b/c/d/e/f/g/h/i/j/k", true),
            ("a/b/c/d/e/f/g/h/i/j/k/l", false),
            ("", false),
            ("/up", false),
            ("up/", false),
            ("a//b", false),
            ("u+", false),
            ("#", false),
            ("up/#", false),
            ("$x", false),
            ("a-b", false),
            ("é", false),
        ] {
            assert_eq!(suffix.parse::<TopicSuffix>().is_ok(), expected, "{suffix}");
        }
        assert!("x".repeat(255).parse::<TopicSuffix>().is_ok());
        assert!("x".repeat(256).parse::<TopicSuffix>().is_err());
        assert!("A1B2C3D4E5/dev_01".parse::<DeviceId>().is_ok());
        assert!("A1B2C3D4E5".parse::<DeviceId>().is_err());
    }

    #[test]
    fn a_device_is_found_in_a_client_id_of_the_vendors_form() {
        let device = DeviceId::from_joined("A1B2C3D4E5dev_01").unwrap();
        assert_eq!((device.to_string().as_str(), device.joined().as_str()), ("A1B2C3D4E5/dev_01", "A1B2C3D4E5dev_01"));
        for other in ["", "A1B2C3D4E5", "A1B2C3D4E5/dev", "mosq-abcdefghijk", "A1B2C3D4Eédev"] {
            assert_eq!(DeviceId::from_joined(other), None, "{other}");
        }
    }

    #[test]
    fn an_invalid_name_says_the_rule() {
        let error = "x".parse::<ProductId>().unwrap_err();
        assert_eq!(error.to_string(), "product id \"x\" is not valid: use exactly 10 upper-case letters or digits");
    }
}
