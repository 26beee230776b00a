//! The HTTP door of an orchestrator, over real sockets. Every response of every test is held against the OpenAPI
//! document that the door itself serves.

mod events;
mod experiments;
mod refusals;
mod support;
mod swarms;
mod tasks;
