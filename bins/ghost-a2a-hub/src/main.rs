//! The binary `ghost-a2a-hub`; its story is in the library.

fn main() -> std::process::ExitCode {
    ghost_a2a_hub::main()
}
