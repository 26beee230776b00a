//! Virtual environments for tests that run Python, made once for each list of pinned packages.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

/// The Python of the environment `name`, under `target/python` or GHOST_PYTHON_ENVS, with the packages of `list`; it is
/// made where it is missing or the list has changed.
///
/// # Panics
/// Where there is no Python with venv, or no package index; the message says what to install.
pub async fn environment(name: &str, list: &Path) -> PathBuf {
    let place = std::env::var_os("GHOST_PYTHON_ENVS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python"), PathBuf::from)
        .join(name);
    let (python, done) = (place.join("bin/python"), place.join("installed.txt"));
    let wanted = std::fs::read_to_string(list).expect("the list of packages is in the repository");
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return python;
    }
    run("python3", &["-m", "venv", "--clear", &place.display().to_string()]).await;
    let list = list.display().to_string();
    run(&python.display().to_string(), &["-m", "pip", "install", "--quiet", "--no-deps", "-r", &list]).await;
    std::fs::write(done, wanted).expect("the environment was just made");
    python
}

async fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().await;
    let output = output.unwrap_or_else(|error| {
        panic!("{program} {arguments:?}: {error}; these tests need python3 (Debian: python3 python3-venv)")
    });
    assert!(
        output.status.success(),
        "{program} {arguments:?} failed; these tests need python3 with venv (Debian: python3-venv) and, once, a package \
         index (PIP_INDEX_URL):\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
