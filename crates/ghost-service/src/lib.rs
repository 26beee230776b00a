//! What makes a program a service: its log ([`telemetry`]), its end ([`shutdown`]), and the owner of whatever it runs
//! beside ([`tasks`]).
//!
//! Every service has one shape: `Config`, then `Service::build(config, deps)`, then `run(shutdown).await`.

pub mod shutdown;
pub mod tasks;
pub mod telemetry;
