//! The task file of a run, read twice: once for its hash, once for its tasks.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Seek as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use crate::exit::misuse;
use ghost_core::task_file::TaskFile;

/// The file, and what tells it from others.
#[derive(Debug)]
pub(crate) struct Input {
    /// What to call it.
    pub name: String,
    /// Where it is, absolute; none for a pipe.
    pub path: Option<PathBuf>,
    /// In hexadecimal.
    pub sha256: String,
    /// Lines that are not blank.
    pub lines: u64,
    file: File,
}

impl Input {
    /// Opens and hashes it. What cannot be read twice, a pipe, is copied first.
    pub(crate) fn open(name: &Path) -> anyhow::Result<Self> {
        let from_stdin = name.as_os_str() == "-";
        let called = if from_stdin { "stdin".to_owned() } else { name.display().to_string() };
        let unreadable = || format!("{called} cannot be read");
        let (path, mut file) = if from_stdin {
            (None, copied(&mut io::stdin().lock()).with_context(unreadable)?)
        } else {
            let mut file = File::open(name).map_err(|error| {
                misuse(format!("{called} cannot be opened: {error}; name a file of tasks, or - for stdin"))
            })?;
            let kind = file.metadata().with_context(unreadable)?;
            if kind.is_dir() {
                return Err(misuse(format!("{called} is a directory; name a file of tasks")));
            }
            if kind.is_file() {
                (Some(fs::canonicalize(name).with_context(unreadable)?), file)
            } else {
                (None, copied(&mut file).with_context(unreadable)?)
            }
        };
        let (sha256, lines) = measure(&mut file).with_context(unreadable)?;
        Ok(Self { name: called, path, sha256, lines, file })
    }

    /// Its lines, from the first.
    pub(crate) fn tasks(&self) -> anyhow::Result<TaskFile<BufReader<File>>> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(TaskFile::new(BufReader::with_capacity(1 << 16, file)))
    }
}

fn copied(pipe: &mut impl io::Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(pipe, &mut file)?;
    Ok(file)
}

fn measure(file: &mut File) -> io::Result<(String, u64)> {
    file.rewind()?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut hash = Sha256::new();
    let (mut lines, mut blank) = (0, true);
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            break;
        }
        hash.update(chunk);
        for &byte in chunk {
            if byte == b'\n' {
                blank = true;
            } else if blank && !byte.is_ascii_whitespace() {
                blank = false;
                lines += 1;
            }
        }
        let read = chunk.len();
        reader.consume(read);
    }
    Ok((hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), lines))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_that_say_something_are_counted_and_the_same_bytes_have_the_same_hash() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(b"{}\n\n  \r\n{}\n{}").expect("there is room");
        let input = Input::open(file.path()).expect("it is a file");
        assert_eq!(input.lines, 3);
        assert_eq!(input.sha256, Input::open(file.path()).expect("it is a file").sha256);
        assert_eq!(input.tasks().expect("it can be read again").count(), 3);
    }

    #[test]
    fn what_is_no_file_is_told_with_what_would_be_one() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let directory = Input::open(folder.path()).expect_err("a directory");
        assert!(directory.to_string().ends_with("name a file of tasks"), "{directory}");
        let missing = Input::open(&folder.path().join("none")).expect_err("not there");
        assert!(missing.to_string().ends_with("or - for stdin"), "{missing}");
    }
}
