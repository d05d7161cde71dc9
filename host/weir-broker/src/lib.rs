//! The running middle of the hub: what happens between a front-end and the log, and between the log and an effect.
//!
//! Start reading at [`pipeline`]: it holds the main path and the invariants. Front-ends reach the hub through
//! [`Broker`] and [`Session`] only; these alone decide on authority, limits and routing.
//!
//! Architecture invariant: this crate knows no protocol and no SQL. Codecs are the front-ends', the rule language is
//! behind [`weir_core::seams::Language`].

mod activation;
pub mod admin;
mod auth;
mod broker;
mod delivery;
mod drain;
mod gateway;
mod inbox;
mod ingress;
mod limits;
mod line;
mod message;
pub mod metrics;
mod origins;
mod outbound;
mod pace;
pub mod pipeline;
mod policy;
mod presence;
mod registration;
mod rules;
mod services;
mod session;
mod shadow;
mod signing;
mod tables;
mod tail;
pub mod trace;

#[cfg(test)]
mod tests;

pub use auth::StoreAuthenticator;
pub use broker::Broker;
pub use drain::Drain;
pub use inbox::ledger::DroppedCounts;
pub use ingress::PublishError;
pub use limits::Limits;
pub use metrics::Metrics;
pub use origins::{Origins, origin};
pub use outbound::{Outbound, OutboundRow};
pub use pace::{Bucket, Rate};
pub use pipeline::{Parts, Running, StartError};
pub use registration::{RegisterError, Registered, SignedRegistration};
pub use rules::{ActionStatus, Applied, ApplyError, Change, ReplayError, RuleOptions, RuleRuntime, RuleStatus};
pub use services::{BroadcastError, CallAnswer, CallError};
pub use session::{
    CloseReason, End, Session, SessionError, SessionEvent, SessionOptions, SessionStatus, SubscribeError, Will,
};
pub use shadow::{Shadow, ShadowError, ShadowUpdate};
pub use signing::SigningMethod;
pub use tail::Tail;
pub use weir_store::{Broadcast, BroadcastId, BroadcastState};
