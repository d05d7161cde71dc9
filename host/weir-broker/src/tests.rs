//! The middle as a whole, between a log that can lose power and targets that misbehave. The rule language is a stand-in
//! of a few lines: what is tested is the way of a row, not SQL.

mod broadcasts;
mod gateways;
mod hub;
mod kept;
mod policy;
mod registrations;
mod retained;
mod rules;
mod services;
mod sessions;
mod shadows;
mod shared;
mod tables;
mod wills;
