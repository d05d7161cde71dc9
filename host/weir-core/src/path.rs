//! Paths into JSON values, such as `pos.lat` or `vals[0]`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One step of a JSON path. Indexes count from 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Step {
    Key(Box<str>),
    Index(u32),
}

/// A path into a JSON value; without steps, the whole value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JsonPath(pub Box<[Step]>);

impl JsonPath {
    /// Whether no key is empty or needs an escape in JSON: only then other engines find what this one finds.
    pub fn is_plain(&self) -> bool {
        self.0.iter().all(|step| match step {
            Step::Key(key) => !key.is_empty() && !key.chars().any(|c| c.is_control() || matches!(c, '"' | '\\')),
            Step::Index(_) => true,
        })
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if i > 0 => write!(f, ".{key}")?,
                Step::Key(key) => f.write_str(key)?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
