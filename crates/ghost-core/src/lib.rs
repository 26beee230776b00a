//! What every Ghost Swarm binary shares: tasks and messages, TaskMaster, the hybrid inference engine, the broker.
//!
//! A task is *submitted, classified, dispatched, inferred, evaluated, settled* and *counted*: follow it through [`task`],
//! [`taskmaster`], [`broker`], [`inference`], [`checks`], [`lifecycle`] and [`stats`]. This crate starts no server and links no
//! C++ engine.

pub mod broker;
pub mod checks;
pub mod config;
pub mod executor;
pub mod experiment;
pub mod feedback;
pub mod id;
pub mod inference;
pub mod learning;
pub mod lifecycle;
pub mod messages;
pub mod retry;
pub mod roster;
pub mod stand_in;
pub mod stats;
pub mod task;
pub mod task_file;
pub mod taskmaster;
pub mod token;
