//! What makes a program a service: its log ([`telemetry`]), its end ([`shutdown`]), the owner of whatever it runs
//! beside ([`tasks`]), and the guard of whatever it opens to callers ([`door`]).
//!
//! Every service has one shape: `Config`, then `Service::build(config, deps)`, then `run(shutdown).await`.

pub mod door;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;
