//! What the devices of a product are.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::ids::InvalidName;

/// Fixed when the product is made: what a device may do must not depend on when it was bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProductType {
    #[default]
    Device,
    /// Its devices may act for others that are bound to them, and cannot be bound themselves.
    Gateway,
}

impl ProductType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Gateway => "gateway",
        }
    }
}

impl fmt::Display for ProductType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ProductType {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        [Self::Device, Self::Gateway].into_iter().find(|known| known.as_str() == text).ok_or_else(|| InvalidName {
            kind: "product type",
            text: text.chars().take(64).collect(),
            rule: "write device or gateway",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_read_as_it_is_written() {
        for kind in [ProductType::Device, ProductType::Gateway] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert_eq!(
            "hub".parse::<ProductType>().unwrap_err().to_string(),
            "product type \"hub\" is not valid: write device or gateway"
        );
    }
}
