//! What every Ghost Swarm binary shares: tasks and messages, TaskMaster, the hybrid inference engine, the broker.
//!
//! A task is *submitted, classified, dispatched, inferred, evaluated, settled* and *counted*; the modules stand in
//! that order. This crate starts no server and links no C++ engine.

pub mod id;
pub mod task;
pub mod messages;
pub mod taskmaster;
pub mod lifecycle;
pub mod broker;
pub mod inference;
pub mod stats;
pub mod config;
pub mod executor;
pub mod retry;
