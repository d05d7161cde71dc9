//! The vocabulary of the hub and its pure logic.
//!
//! Types that every crate speaks (ids, topics, envelopes, principals), the decisions that must be made the same way
//! everywhere (topic matching, device isolation), and the seams at which other crates plug in.
//!
//! Architecture invariant: this crate has no clock, no files, no sockets and no async runtime.

pub mod address;
pub mod certificate;
pub mod envelope;
pub mod error;
pub mod grant;
pub mod history;
pub mod ids;
pub mod offset;
pub mod path;
pub mod plugin;
pub mod policy;
pub mod principal;
pub mod product;
pub mod schema;
pub mod seams;
pub mod shadow;
mod sql_error;
pub mod statement;
pub mod subscription;
pub mod table;
pub mod topic;
pub mod trie;
pub mod windows;

pub use certificate::{CertificateIdentity, Fingerprint, InvalidHex, Serial, Voucher};
pub use envelope::{Envelope, OwnedMessage, Protocol, Qos, Timestamp};
pub use error::{Classify, ErrorKind};
pub use grant::{Grant, HostPort};
pub use ids::{
    DeviceId, DeviceName, IndexName, KeyName, PluginName, ProductId, RuleName, SecretName, ShadowName, SinkName,
    TopicSuffix,
};
pub use offset::Offset;
pub use policy::{Access, Denied, Policy, TopicClass};
pub use principal::{Grants, Principal};
pub use product::ProductType;
pub use subscription::{RetainHandling, Subscription, SubscriptionFilter};
pub use topic::{Topic, TopicFilter};
pub use trie::FilterTrie;
