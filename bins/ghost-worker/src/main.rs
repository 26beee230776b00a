//! The binary `ghost-worker`; its story is in the library.

fn main() -> std::process::ExitCode {
    ghost_worker::main()
}
