//! The real binary, as its users meet it; `tests/tests/programs.rs` has it in a swarm.

use ghost_tests::programs;

#[test]
fn its_help_teaches_and_what_makes_no_sense_is_refused_with_words_that_help() {
    programs::must_teach_and_refuse(env!("CARGO_BIN_EXE_ghost-worker").as_ref());
}

#[test]
fn the_help_of_its_server_teaches_too() {
    let help =
        std::process::Command::new(env!("CARGO_BIN_EXE_ghost-worker")).args(["serve", "--help"]).output();
    let help = String::from_utf8(help.expect("it starts").stdout).expect("text");
    for part in ["Examples:", "SLM_ENDPOINT=http://127.0.0.1:8090/v1", "SLM_SERVER_PORT", "GHOST_API_TOKEN"] {
        assert!(help.contains(part), "`{part}` is missing in:\n{help}");
    }
}
