//! The real binary, as its users meet it.

mod claude;
mod crash;
mod run;
mod support;
