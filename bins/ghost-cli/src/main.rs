//! The binary `ghost`; its story is in the library.

fn main() -> std::process::ExitCode {
    ghost_cli::main()
}
