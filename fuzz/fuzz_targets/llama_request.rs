//! Any request is answered or refused with words; none ends the process.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/ghost-llama/tests/arbitrary/mod.rs"]
mod arbitrary;

fuzz_target!(|bytes: &[u8]| arbitrary::ask(bytes));
