//! The way of a model from its name to its file.
//!
//! A file that is here and right is never asked for again. Else the hub says what the file is, which must be what was
//! pinned when it was first pulled; its bytes are streamed beside its place and hashed on the way, after every break from
//! where they broke off; and only what has the right hash takes its place.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ghost_core::retry::Retry;
use ghost_service::data_dir::{self, Turn};
use jiff::Timestamp;

use super::error::Error;
use super::lock_file::{LOCK_FILE, Pin, Pins};
use super::part::{Part, hash_of};
use super::reference::Reference;
use super::remote::{Bytes, Description, Hub, Patience};

/// What to pull.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// The model.
    pub(crate) reference: Reference,
    /// Whether the hub may have another file than the one that was pinned.
    pub(crate) update: bool,
}

/// What whoever waits may want to know.
#[derive(Debug)]
pub(crate) enum News {
    /// A file that is here is read.
    Checking {
        /// Bytes read.
        at: u64,
        /// Of so many.
        size: u64,
    },
    /// Bytes come.
    Coming {
        /// Bytes that are here.
        at: u64,
        /// Of so many.
        size: u64,
    },
    /// Something failed, and will be tried again.
    Waiting {
        /// What failed.
        why: String,
        /// How long until then.
        wait: Duration,
    },
    /// What had come is of no use.
    Again {
        /// Why.
        why: &'static str,
    },
}

/// A model that is here, whole and checked.
#[derive(Debug)]
pub(crate) struct Pulled {
    /// Its file.
    pub(crate) path: PathBuf,
    /// What it is.
    pub(crate) pin: Pin,
    /// Whether it was here before.
    pub(crate) was_here: bool,
}

/// Who hears the news.
pub(crate) type Listener<'a> = &'a mut dyn FnMut(News);

/// Pulls a model into the folder of models.
pub(crate) async fn pull(
    hub: &Hub,
    models: &Path,
    order: &Order,
    tell: Listener<'_>,
) -> Result<Pulled, Error> {
    let reference = &order.reference;
    let path = models.join(reference.path());
    let folder = path.parent().unwrap_or(models);
    data_dir::create(folder).map_err(Error::file(folder))?;
    let _turn = turn(&path, reference)?;

    let pinned = Pins::read(models)?.get(reference).cloned();
    if let Some(pin) = pinned.as_ref().filter(|_| !order.update)
        && is_right(&path, pin, tell).await?
    {
        return here(models, path, reference, pin.clone(), true);
    }
    let mut attempts = Attempts::new(hub.patience());
    let described = loop {
        match hub.describe(reference).await {
            Ok(described) => break described,
            Err(error) => attempts.failed(error, tell).await?,
        }
    };
    let Description { size, sha256, commit } = described;
    let mut pin = Pin { size, sha256, commit, verified: None };
    match pinned {
        Some(old) if old.same_bytes(&pin) => {
            if order.update && is_right(&path, &old, tell).await? {
                return here(models, path, reference, old, true);
            }
            // The file may have been published again unchanged: the commit that was pinned has it still.
            pin.commit = old.commit.or(pin.commit);
        }
        Some(old) if !order.update => {
            let lock = models.join(LOCK_FILE);
            return Err(Error::Changed { lock, pinned: Box::new(old), offered: Box::new(pin) });
        }
        _ => {}
    }
    let mut part = Part::open(&path, pin.size, &mut |at| tell(News::Checking { at, size })).await?;
    check_room(folder, pin.size - part.length())?;
    // An old file stays what the lock file says until the new one is whole.
    if !path.exists() {
        Pins::update(models, |pins| pins.set(reference.clone(), pin.clone()))?;
    }
    fetch(hub, reference, &pin, &mut part, tell).await?;
    Pins::update(models, |pins| pins.set(reference.clone(), pin.clone()))?;
    part.finish(&path)?;
    here(models, path, reference, pin, false)
}

/// Brings the rest of a part, until all of it has the right hash.
async fn fetch(
    hub: &Hub,
    reference: &Reference,
    pin: &Pin,
    part: &mut Part,
    tell: Listener<'_>,
) -> Result<(), Error> {
    let mut attempts = Attempts::new(hub.patience());
    let mut etag = None;
    // Bytes of several answers may be of several files, if the server has no word for that; then one is read in whole.
    let (mut patched, mut restarted) = (part.length() > 0, false);
    loop {
        let before = part.length();
        if before == pin.size {
            let received = part.hash();
            if received == pin.sha256 {
                return Ok(());
            }
            part.restart()?;
            etag = None;
            if !patched || restarted {
                return Err(Error::Altered { announced: pin.sha256, received });
            }
            (patched, restarted) = (false, true);
            tell(News::Again { why: "what had come before does not fit the rest" });
            continue;
        }
        patched |= before > 0;
        let opened = hub.open(reference, pin.commit.as_deref(), pin.size, before, etag.as_deref()).await;
        let read = match opened {
            Ok(bytes) => read(bytes, pin, part, &mut etag, tell).await,
            Err(error) => Err(error),
        };
        if let Err(error) = read {
            if part.length() > before {
                attempts.reset();
            }
            attempts.failed(error, tell).await?;
        }
    }
}

/// Reads an answer into a part.
async fn read(
    mut bytes: Bytes,
    pin: &Pin,
    part: &mut Part,
    etag: &mut Option<String>,
    tell: Listener<'_>,
) -> Result<(), Error> {
    let host = bytes.host();
    if let Some(offered) = bytes.sha256.filter(|offered| *offered != pin.sha256) {
        return Err(Error::NoHub { host, what: format!("the file changed to sha256 {offered} meanwhile") });
    }
    if bytes.from != part.length() {
        part.restart()?;
        tell(News::Again { why: "the server sends the file from its beginning only" });
    }
    *etag = bytes.etag.take();
    while let Some(chunk) = bytes.next().await? {
        let chunk = chunk.as_ref();
        let length = part.length() + chunk.len() as u64;
        if length > pin.size {
            part.restart()?;
            return Err(Error::Size { host, announced: pin.size, received: length });
        }
        part.add(chunk)?;
        if !part.may_be_gguf() {
            part.restart()?;
            return Err(Error::NotGguf { host });
        }
        tell(News::Coming { at: part.length(), size: pin.size });
    }
    if part.length() < pin.size {
        return Err(Error::Connection { host, reason: "it ended too early".to_owned() });
    }
    Ok(())
}

/// Whether a file is here and what it must be.
async fn is_right(path: &Path, pin: &Pin, tell: Listener<'_>) -> Result<bool, Error> {
    let size = pin.size;
    if !fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == size) {
        return Ok(false);
    }
    let hash = hash_of(path, &mut |at| tell(News::Checking { at, size })).await.map_err(Error::file(path))?;
    Ok(hash == pin.sha256)
}

fn here(
    models: &Path,
    path: PathBuf,
    reference: &Reference,
    pin: Pin,
    was_here: bool,
) -> Result<Pulled, Error> {
    let pin = Pin { verified: Some(Timestamp::now()), ..pin };
    Pins::update(models, |pins| pins.note(reference, &pin, pin.verified))?;
    Ok(Pulled { path, pin, was_here })
}

/// The right to write a file: two writers would spoil it for each other.
fn turn(path: &Path, reference: &Reference) -> Result<data_dir::Lock, Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let lock = path.with_file_name(format!(".{name}.lock"));
    match data_dir::turn(&lock, &format!("ghost models pull {}", reference.name()))
        .map_err(Error::file(&lock))?
    {
        Turn::Ours(lock) => Ok(lock),
        Turn::Theirs(holder) => Err(Error::Held { holder }),
    }
}

fn check_room(folder: &Path, needed: u64) -> Result<(), Error> {
    let free = fs4::available_space(folder).map_err(Error::file(folder))?;
    if free < needed {
        return Err(Error::Disk { folder: folder.to_owned(), needed, free });
    }
    Ok(())
}

/// How often something failed in a row.
struct Attempts<'a> {
    patience: &'a Patience,
    failures: u32,
    chance: fastrand::Rng,
}

impl<'a> Attempts<'a> {
    fn new(patience: &'a Patience) -> Self {
        Self { patience, failures: 0, chance: fastrand::Rng::new() }
    }

    fn reset(&mut self) {
        self.failures = 0;
    }

    /// Waits before the next attempt, or hands the error back where another one would not help.
    async fn failed(&mut self, error: Error, tell: Listener<'_>) -> Result<(), Error> {
        self.failures += 1;
        let wait = match error.retry() {
            Retry::Never => return Err(error),
            Retry::Now => self.patience.backoff.wait(self.failures, &mut self.chance),
            Retry::After(wait) => wait,
        };
        if self.failures >= self.patience.tries || wait > self.patience.longest {
            return Err(error);
        }
        tell(News::Waiting { why: error.to_string(), wait });
        (self.patience.pause)(wait).await;
        Ok(())
    }
}
