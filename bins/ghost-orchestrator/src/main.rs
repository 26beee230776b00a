//! The binary `ghost-orchestrator`; its story is in the library.

fn main() -> std::process::ExitCode {
    ghost_orchestrator::main()
}
