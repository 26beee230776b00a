//! A file in the making: what has come lies in `FILE.gguf.part` and is hashed on its way there.
//!
//! The part has no other memory than its bytes. What an earlier process left is read once, so that the hash goes on where
//! the file does.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::error::Error;
use super::hash::Hash;

/// So much is read at once.
const BLOCK: usize = 1 << 20;
/// Every GGUF file begins like this.
const MAGIC: &[u8] = b"GGUF";

/// The bytes that are here so far.
#[derive(Debug)]
pub(crate) struct Part {
    path: PathBuf,
    file: File,
    hasher: Sha256,
    length: u64,
    beginning: Vec<u8>,
}

impl Part {
    /// Opens the part of a file and takes in what it holds; more than `size` bytes, or anything but the beginning of a
    /// GGUF file, is thrown away.
    pub(crate) async fn open(file: &Path, size: u64, hashed: &mut dyn FnMut(u64)) -> Result<Self, Error> {
        let mut path = file.as_os_str().to_owned();
        path.push(".part");
        let path = PathBuf::from(path);
        let mut options = File::options();
        let opened = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(Error::file(&path))?;
        let mut part = Self { path, file, hasher: Sha256::new(), length: 0, beginning: Vec::new() };
        if part.file.metadata().map_err(Error::file(&part.path))?.len() > size {
            part.restart()?;
            return Ok(part);
        }
        let mut block = vec![0; BLOCK];
        loop {
            let read = part.file.read(&mut block).map_err(Error::file(&part.path))?;
            if read == 0 {
                break;
            }
            part.take_in(&block[..read]);
            hashed(part.length);
            tokio::task::yield_now().await;
        }
        if !part.may_be_gguf() {
            part.restart()?;
        }
        Ok(part)
    }

    /// How many bytes are here.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The SHA-256 of what is here.
    pub(crate) fn hash(&self) -> Hash {
        Hash::of(self.hasher.clone())
    }

    /// Whether what is here can be the beginning of a GGUF file.
    pub(crate) fn may_be_gguf(&self) -> bool {
        MAGIC.starts_with(&self.beginning)
    }

    /// Adds bytes to the end.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(Error::file(&self.path))?;
        self.take_in(bytes);
        Ok(())
    }

    /// Throws everything away.
    pub(crate) fn restart(&mut self) -> Result<(), Error> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(Error::file(&self.path))?;
        self.hasher = Sha256::new();
        self.length = 0;
        self.beginning.clear();
        Ok(())
    }

    /// Puts the file in its place, so that it is there after a power cut, and whole.
    pub(crate) fn finish(self, file: &Path) -> Result<(), Error> {
        self.file.sync_all().map_err(Error::file(&self.path))?;
        fs::rename(&self.path, file).map_err(Error::file(file))?;
        // The name is kept by the directory, and only Unix lets us ask for that.
        #[cfg(unix)]
        if let Some(folder) = file.parent() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::file(folder))?;
        }
        Ok(())
    }

    fn take_in(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        let missing = MAGIC.len().saturating_sub(self.beginning.len()).min(bytes.len());
        self.beginning.extend_from_slice(&bytes[..missing]);
    }
}

/// The SHA-256 of a whole file; tells in between how far it is, and lets others run.
pub(crate) async fn hash_of(path: &Path, hashed: &mut dyn FnMut(u64)) -> io::Result<Hash> {
    let mut file = File::open(path)?;
    let (mut hasher, mut length, mut block) = (Sha256::new(), 0, vec![0; BLOCK]);
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            return Ok(Hash::of(hasher));
        }
        hasher.update(&block[..read]);
        length += read as u64;
        hashed(length);
        tokio::task::yield_now().await;
    }
}
