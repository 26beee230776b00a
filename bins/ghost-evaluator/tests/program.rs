//! The real binary, as its users meet it; `tests/tests/programs.rs` has it in a swarm.

use ghost_tests::programs;

#[test]
fn its_help_teaches_and_what_makes_no_sense_is_refused_with_words_that_help() {
    programs::must_teach_and_refuse(env!("CARGO_BIN_EXE_ghost-evaluator").as_ref());
}
