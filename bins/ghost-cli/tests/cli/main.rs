//! The real binary, as its users meet it.

mod bench;
mod crash;
mod experiment;
mod learning;
mod look;
mod models;
mod remote;
mod run;
mod support;
mod taskmaster;
mod up;

use ghost_tests::gated_claude as claude;
