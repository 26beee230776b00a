//! The binary `ghost-evaluator`; its story is in the library.

fn main() -> std::process::ExitCode {
    ghost_evaluator::main()
}
