//! The real binary, as its users meet it.

mod claude;
mod crash;
mod look;
mod run;
mod support;
