//! What makes a program a service: its command line and its life ([`program`]), its log ([`telemetry`]), its end
//! ([`shutdown`]), how it is ([`health`], [`metrics`]), the store ([`broker`], [`data_dir`]), the owner of whatever it runs
//! beside ([`tasks`]), and the guard of whatever it opens to callers ([`door`]). [`models`] tells which models the
//! settings name.
//!
//! Every service has one shape: `Config`, then `Service::build(config, deps)`, then `run(shutdown).await`.

pub mod broker;
pub mod data_dir;
pub mod door;
pub mod health;
pub mod metrics;
pub mod models;
pub mod program;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;
