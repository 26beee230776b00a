//! The real binary, as its users meet it.

mod bench;
mod claude;
mod crash;
mod look;
mod models;
mod remote;
mod run;
mod support;
