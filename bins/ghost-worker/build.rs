//! Tells a portable worker where its libraries lie: beside it, wherever the archive was unpacked.

/// As `ghost_llama` looks for the code of each CPU.
const PLACES: &str = "$ORIGIN/../lib/ghost-swarm:$ORIGIN/lib/ghost-swarm";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_PORTABLE").is_none() {
        return;
    }
    // The older tag counts for the libraries of the libraries too: libllama finds libggml without a path of its own.
    for argument in ["--disable-new-dtags", &format!("-rpath,{PLACES}")] {
        println!("cargo:rustc-link-arg-bins=-Wl,{argument}");
    }
}
