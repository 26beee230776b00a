//! `models.lock`: what each model was when it was first pulled, and must be ever after.
//!
//! TOML, sorted, meant to be read by people and kept under version control by whoever wants to. Only `ghost models`
//! writes it, as a whole and one process at a time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use ghost_service::data_dir::write_whole;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::hash::Hash;
use super::reference::Reference;

/// Its name in the folder of models.
pub(crate) const LOCK_FILE: &str = "models.lock";
/// Whose lock says whose turn it is to write: the lock file itself is replaced, and its lock would go with it.
const TURN: &str = ".models.lock";
/// A file that is larger was not written by us.
const LONGEST: u64 = 1 << 20;
const VERSION: u32 = 1;
const HEAD: &str =
    "# What `ghost models pull` brought, as the hub announced it. A file that is anything else is refused.\n";

/// What a model must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Pin {
    /// In bytes.
    pub(crate) size: u64,
    /// Of the whole file.
    pub(crate) sha256: Hash,
    /// The commit that its revision stood for.
    pub(crate) commit: Option<String>,
    /// When all of the file was last seen to be right; none as long as it was never here.
    pub(crate) verified: Option<Timestamp>,
}

impl Pin {
    /// Whether both stand for the same bytes.
    pub(crate) fn same_bytes(&self, other: &Pin) -> bool {
        (self.size, self.sha256) == (other.size, other.sha256)
    }
}

/// All that was ever pulled.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pins(BTreeMap<Reference, Pin>);

impl Pins {
    /// Those of a folder of models; none where there is no lock file.
    pub(crate) fn read(models: &Path) -> Result<Self, Error> {
        let path = models.join(LOCK_FILE);
        let unusable = |reason: String| Error::Lock { file: path.clone(), reason };
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Ok(metadata) if metadata.len() > LONGEST => return Err(unusable("it is too large".to_owned())),
            _ => {}
        }
        let text = fs::read_to_string(&path).map_err(|error| unusable(error.to_string()))?;
        Self::parse(&text).map_err(unusable)
    }

    /// Changes those of a folder while nobody else does.
    pub(crate) fn update(models: &Path, change: impl FnOnce(&mut Self)) -> Result<(), Error> {
        let turn = models.join(TURN);
        let mut options = File::options();
        let taken = options.write(true).create(true).truncate(false).open(&turn).and_then(|file| {
            file.lock()?;
            Ok(file)
        });
        let _turn = taken.map_err(Error::file(turn))?;
        let mut pins = Self::read(models)?;
        change(&mut pins);
        let path = models.join(LOCK_FILE);
        write_whole(&path, pins.text().as_bytes()).map_err(Error::file(path))
    }

    /// What a model must be, if it was pulled before.
    pub(crate) fn get(&self, reference: &Reference) -> Option<&Pin> {
        self.0.get(reference)
    }

    /// Pins a model, or pins it anew.
    pub(crate) fn set(&mut self, reference: Reference, pin: Pin) {
        self.0.insert(reference, pin);
    }

    /// Notes that all of a file was seen to be what `looked_for` says, or that it was not.
    pub(crate) fn note(&mut self, reference: &Reference, looked_for: &Pin, verified: Option<Timestamp>) {
        if let Some(pin) = self.0.get_mut(reference).filter(|pin| pin.same_bytes(looked_for)) {
            pin.verified = verified;
        }
    }

    /// All of them, sorted.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Reference, &Pin)> {
        self.0.iter()
    }

    /// Those that a user may mean by a name.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = (&Reference, &Pin)> {
        self.iter().filter(move |(reference, _)| reference.answers_to(name))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: Wire = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        if file.version != VERSION {
            return Err(format!("its version is {}, and this program knows {VERSION}", file.version));
        }
        let mut pins = BTreeMap::new();
        for entry in file.model {
            let reference = Reference::new(&entry.repository, &entry.file, &entry.revision)
                .map_err(|error| error.to_string())?;
            let sha256 = entry.sha256.parse().map_err(|error| format!("{reference}: {error}"))?;
            let Entry { size, commit, verified, .. } = entry;
            if pins.insert(reference.clone(), Pin { size, sha256, commit, verified }).is_some() {
                return Err(format!("{reference} stands there twice"));
            }
        }
        Ok(Self(pins))
    }

    fn text(&self) -> String {
        let entry = |(reference, pin): (&Reference, &Pin)| Entry {
            repository: reference.repository().to_owned(),
            file: reference.file().to_owned(),
            revision: reference.revision().to_owned(),
            commit: pin.commit.clone(),
            size: pin.size,
            sha256: pin.sha256.to_string(),
            verified: pin.verified,
        };
        let file = Wire { version: VERSION, model: self.iter().map(entry).collect() };
        let text = toml::to_string(&file).expect("texts and numbers below 2^63, which a disk bounds");
        format!("{HEAD}{text}")
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    version: u32,
    #[serde(default)]
    model: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    repository: String,
    file: String,
    revision: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    size: u64,
    sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(digit: &str) -> Pin {
        let sha256 = digit.repeat(64).parse().expect("64 digits");
        Pin { size: 4, sha256, commit: None, verified: None }
    }

    #[test]
    fn pins_are_read_back_sorted_and_a_second_writer_loses_nothing() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(Pins::read(folder.path()).expect("none is fine"), Pins::default());
        let reference = |name| Reference::parse(name, None).expect("a name");
        let full = Pin { commit: Some("abc".to_owned()), verified: Some(Timestamp::UNIX_EPOCH), ..pin("a") };
        for (name, pin) in [("z/b/c.gguf", pin("b")), ("a/b/c.gguf", full.clone())] {
            Pins::update(folder.path(), |pins| pins.set(reference(name), pin)).expect("there is room");
        }
        let pins = Pins::read(folder.path()).expect("what was written");
        assert_eq!(pins.get(&reference("a/b/c.gguf")), Some(&full));
        let text = fs::read_to_string(folder.path().join(LOCK_FILE)).expect("it is there");
        assert!(text.find("a/b") < text.find("z/b"), "{text}");
    }

    #[test]
    fn a_lock_file_that_makes_no_sense_is_refused_and_not_overwritten() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join(LOCK_FILE);
        let entry = |file: &str, hash: &str| {
            format!(
                "[[model]]\nrepository = 'a/b'\nfile = '{file}'\nrevision = 'main'\nsize = 4\nsha256 = '{hash}'\n"
            )
        };
        let good = entry("c.gguf", &"a".repeat(64));
        for (text, why) in [
            ("version = 2".to_owned(), "version is 2"),
            ("version = 1\nx = 1".to_owned(), "unknown field"),
            (format!("version = 1\n{}", entry("../c.gguf", &"a".repeat(64))), "no file of a repository"),
            (format!("version = 1\n{}", entry("c.gguf", "abc")), "64 hexadecimal digits"),
            (format!("version = 1\n{good}{good}"), "twice"),
            ("version = 1\nmodel = -".to_owned(), "models.lock cannot be used"),
        ] {
            fs::write(&path, &text).expect("there is room");
            let error = Pins::update(folder.path(), |_| ()).expect_err("it makes no sense").to_string();
            assert!(error.contains(why), "{error}");
            assert_eq!(fs::read_to_string(&path).expect("it is there"), text);
        }
    }
}
