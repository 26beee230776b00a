//! Where a swarm on this machine keeps what it knows, and whose turn it is to execute.
//!
//! `ghost.db` holds the tasks, `runs/` what each `ghost run` was started with, `models/` the built-in model and those that were pulled. Any
//! number of processes may look and submit; the one that holds the [`Lock`] executes. The kernel frees the lock when its
//! holder dies, however it dies.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The directory, which exists.
#[derive(Debug, Clone)]
pub struct DataDir {
    root: PathBuf,
}

impl DataDir {
    /// Opens the directory that was named, else the platform's own, and makes it where it is missing.
    ///
    /// # Errors
    /// Where it cannot be made or used.
    pub fn open(named: Option<&Path>) -> anyhow::Result<Self> {
        let root = Self::locate(named)?;
        let unusable = || {
            format!("the data directory {} cannot be used; choose another with --data DIR", root.display())
        };
        create(&root).with_context(unusable)?;
        // Absolute, so that it means the same to whoever reads it in a message later.
        let root = fs::canonicalize(&root).with_context(unusable)?;
        Ok(Self { root })
    }

    /// Where the directory is or would be.
    ///
    /// # Errors
    /// Where the platform has no such place.
    pub fn locate(named: Option<&Path>) -> anyhow::Result<PathBuf> {
        Ok(match named {
            Some(named) => named.to_owned(),
            None => directories::ProjectDirs::from("", "", "ghost-swarm")
                .context("this system names no home directory; say where to keep tasks with --data DIR")?
                .data_dir()
                .to_owned(),
        })
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The store of tasks.
    pub fn database(&self) -> PathBuf {
        self.root.join("ghost.db")
    }

    /// A folder inside, made where it is missing.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.root.join(name);
        create(&folder)?;
        Ok(folder)
    }

    /// Takes the right to execute, if nobody has it; `doing` tells others what for.
    ///
    /// # Errors
    /// Where the lock cannot be looked at.
    pub fn lock(&self, doing: &str) -> anyhow::Result<Turn> {
        let path = self.root.join("lock");
        turn(&path, doing).with_context(|| format!("the lock {} cannot be taken", path.display()))
    }

    /// Takes the right to execute beside others that do, unless one process has it for itself.
    ///
    /// # Errors
    /// Where the lock cannot be looked at.
    pub fn share(&self) -> anyhow::Result<Turn> {
        let path = self.root.join("lock");
        let shared = open_lock(&path).and_then(|mut file| match file.try_lock_shared() {
            Ok(()) => Ok(Turn::Ours(Lock { file, alone: false })),
            Err(TryLockError::WouldBlock) => Ok(Turn::Theirs(holder(&mut file))),
            Err(TryLockError::Error(error)) => Err(error),
        });
        shared.with_context(|| format!("the lock {} cannot be taken", path.display()))
    }
}

/// Takes the lock that a file stands for, if nobody has it; `doing` tells others what for.
///
/// # Errors
/// Where the file cannot be used.
pub fn turn(path: &Path, doing: &str) -> io::Result<Turn> {
    let mut file = open_lock(path)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            write!(file, "process {}, `{doing}`", std::process::id())?;
            Ok(Turn::Ours(Lock { file, alone: true }))
        }
        Err(TryLockError::WouldBlock) => Ok(Turn::Theirs(holder(&mut file))),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

/// Who has the lock. The name is a courtesy: where it cannot be read, the fact alone is told.
fn holder(file: &mut File) -> String {
    let mut holder = String::new();
    if file.read_to_string(&mut holder).is_err() || holder.is_empty() {
        holder = "another process".to_owned();
    }
    holder
}

/// Makes a folder that nobody else on this machine can look into: what is asked and answered is nobody else's business on this machine.
///
/// # Errors
/// Where it cannot be made.
pub fn create(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Who executes from a data directory.
#[derive(Debug)]
pub enum Turn {
    /// We do, for as long as this lives.
    Ours(Lock),
    /// Somebody else does: who, in words.
    Theirs(String),
}

/// The right to execute; free again when it is dropped or its process ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
    alone: bool,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.alone {
            return;
        }
        // Only so that nobody reads the name of a process that is gone; the lock itself falls with the file.
        let _ = self.file.rewind().and_then(|()| self.file.set_len(0));
    }
}

/// Where a file is written before it takes its place.
pub fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    name.into()
}

/// Writes a whole file or leaves the old one: what is read later is never half of something.
///
/// # Errors
/// Where there is no room, or no right to write there.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = part_of(path);
    let written = File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let done = written.and_then(|()| fs::rename(&part, path));
    if done.is_err() {
        // Half a file is of no use to anybody; the error that is returned says why it is half.
        let _ = fs::remove_file(&part);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_executes_and_the_others_are_told_who() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let data = DataDir::open(Some(folder.path())).expect("it can be made");
        let Ok(Turn::Ours(lock)) = data.lock("ghost run tasks.jsonl") else { panic!("nobody has it yet") };
        let Ok(Turn::Theirs(holder)) = data.lock("ghost submit") else { panic!("it is taken") };
        assert_eq!(holder, format!("process {}, `ghost run tasks.jsonl`", std::process::id()));
        drop(lock);
        assert!(matches!(data.lock("ghost submit"), Ok(Turn::Ours(_))), "it is free again");
    }

    #[test]
    fn workers_execute_beside_each_other_but_not_beside_one_that_wants_to_be_alone() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let data = DataDir::open(Some(folder.path())).expect("it can be made");
        let Ok((Turn::Ours(one), Turn::Ours(two))) = data.share().and_then(|one| Ok((one, data.share()?)))
        else {
            panic!("nobody is alone here")
        };
        assert!(matches!(data.lock("ghost run"), Ok(Turn::Theirs(holder)) if holder == "another process"));
        drop((one, two));
        let _alone = data.lock("ghost run").expect("it can be looked at");
        assert!(matches!(data.share(), Ok(Turn::Theirs(holder)) if holder.ends_with("`ghost run`")));
    }

    #[test]
    fn a_file_stands_where_the_directory_should() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let error = DataDir::open(Some(file.path())).expect_err("a file is no directory");
        assert!(error.to_string().ends_with("choose another with --data DIR"), "{error}");
    }

    #[test]
    fn a_whole_file_is_written_or_none() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("a.json");
        write_whole(&path, b"one").expect("there is room");
        write_whole(&path, b"two").expect("there is room");
        assert_eq!(fs::read(&path).expect("it is there"), b"two");
        assert_eq!(fs::read_dir(folder.path()).expect("it is a directory").count(), 1);
    }
}
