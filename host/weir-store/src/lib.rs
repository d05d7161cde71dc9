//! What the hub knows beside the log: products, devices, bindings, tokens, certificates, keys, rules, sinks, plugins,
//! secrets, shadows, registrations, broadcasts, and how far each reader of the log has come. One SQLite database in the data folder.
//!
//! Promises: a write that was answered is on disk; a write happens whole or not at all; a format newer than this build
//! is refused by name; secrets and device keys are encrypted, tokens and keys are kept as hashes only.
//! A failed write is an error to its caller and to nobody else.
//!
//! Absent: who may do what (`weir_core::Policy` says), what a rule's text means, and the clock: callers pass the time.

mod authorities;
mod bindings;
mod broadcasts;
mod certificates;
mod credential;
mod dead_letters;
mod delivery;
mod devices;
mod error;
mod keys;
mod migrate;
mod plugins;
mod products;
mod progress;
mod registrations;
mod row;
mod rules;
mod secrets;
mod shadows;
mod sinks;
mod snapshots;
mod store;
mod tables;
mod tokens;
mod topics;
mod vault;
mod windows;
mod writer;

#[cfg(test)]
mod tests;

pub use authorities::{AUTHORITIES, AUTHORITIES_PER_PRODUCT, AuthorityRow};
pub use bindings::{BindLimits, Binding, Bound, NewBinding, UsedSignature};
pub use broadcasts::{Broadcast, BroadcastId, BroadcastState, BroadcastStep, NewBroadcast};
pub use certificates::{
    CERTIFICATES_PER_DEVICE, CertificateName, CertificateRow, IssuedRow, PINS_PER_DEVICE, REVOCATIONS,
};
pub use dead_letters::{DeadLetter, DeadLetterCount, DeadLetterKind, NewDeadLetter};
pub use delivery::{DeliveryStep, DoneMarks, KeptRow, RetainedRow, SavedDelivery, SessionRow, SharedQueueRow};
pub use devices::Device;
pub use error::{OpenError, StoreError};
pub use keys::{KeyRow, Role};
pub use plugins::{PLUGINS, PluginRow};
pub use products::{NewProduct, Product};
pub use progress::{ActionLedger, ActionProgress, ERROR_ACTION, Progress, SavedProgress};
pub use registrations::{Registration, RegistrationChange, RegistrationCredential, RegistrationMode, SecretChange};
pub use rules::{NewRule, RuleRow, RuleVersion};
pub use secrets::SecretRow;
pub use shadows::{ShadowRow, ShadowStep};
pub use sinks::SinkRow;
pub use snapshots::Snapshot;
pub use store::{Store, StoreOptions};
pub use tables::{DeviceFields, INDEXES, IndexRow, ShadowFields, ShadowTexts};
pub use tokens::{TOKENS_PER_DEVICE, TokenCheck, TokenId, TokenRow};
pub use windows::SavedWindows;
