//! What a model is called: a file in a repository at a revision, and where each of these stands in an address and on
//! the disk.
//!
//! Names come from command lines, lock files and settings; nothing that passes [`Reference::parse`] can lead out of the
//! folder of models or to another place of the hub.

use std::fmt;
use std::path::PathBuf;

use reqwest::Url;

use super::catalogue::{self, CATALOGUE};

/// The revision where nobody names one: the branch that hubs show first.
pub(crate) const DEFAULT_REVISION: &str = "main";

/// A GGUF file of a repository at a revision.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    repository: String,
    file: String,
    revision: String,
}

/// Why a text names no model; what to write instead.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(String);

impl Reference {
    /// A name of the catalogue or `OWNER/REPO/FILE.gguf`, at this revision or the default one.
    pub(crate) fn parse(name: &str, revision: Option<&str>) -> Result<Self, Malformed> {
        let revision = revision.unwrap_or(DEFAULT_REVISION);
        if let Some(entry) = catalogue::entry(name) {
            return Self::new(entry.repository, entry.file, revision);
        }
        let mut parts = name.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(owner), Some(repository), Some(file)) => {
                Self::new(&format!("{owner}/{repository}"), file, revision)
            }
            _ => Err(Malformed(format!(
                "`{name}` is no model of the catalogue ({}); write OWNER/REPO/FILE.gguf",
                catalogue::names()
            ))),
        }
    }

    /// From its parts: `OWNER/REPO`, a path in it that ends with `.gguf`, a branch, tag or commit.
    pub(crate) fn new(repository: &str, file: &str, revision: &str) -> Result<Self, Malformed> {
        let names: Vec<_> = repository.split('/').collect();
        if names.len() != 2 || !names.iter().all(|name| is_name(name, 96)) {
            return Err(Malformed(format!(
                "`{repository}` is no repository: write OWNER/REPO in letters, digits, `.`, `_` and `-`"
            )));
        }
        // With `.part` and the like behind it, a name must still fit into a directory.
        let segments: Vec<_> = file.split('/').collect();
        if segments.len() > 8 || !segments.iter().all(|segment| is_name(segment, 200)) {
            return Err(Malformed(format!(
                "`{file}` is no file of a repository: write its path there, in letters, digits, `.`, `_`, `-`, `+` and `=`"
            )));
        }
        if !file.ends_with(".gguf") || file.ends_with("/.gguf") {
            return Err(Malformed(format!("`{file}` is no GGUF file: its name must end with .gguf")));
        }
        if revision.len() > 200 || !revision.split('/').all(|segment| is_name(segment, 200)) {
            return Err(Malformed(format!("`{revision}` is no revision: name a branch, a tag or a commit")));
        }
        Ok(Self { repository: repository.to_owned(), file: file.to_owned(), revision: revision.to_owned() })
    }

    /// `OWNER/REPO`.
    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    /// The path of the file in the repository.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// The branch, tag or commit.
    pub(crate) fn revision(&self) -> &str {
        &self.revision
    }

    /// Whether this is the revision where nobody names one.
    pub(crate) fn is_default_revision(&self) -> bool {
        self.revision == DEFAULT_REVISION
    }

    /// What the engine calls the model: the file's name without its ending.
    pub(crate) fn model(&self) -> &str {
        let name = self.file.rsplit('/').next().unwrap_or_default();
        name.strip_suffix(".gguf").unwrap_or(name)
    }

    /// Whether a user may mean it by this name: the catalogue's, the whole one, or the file's with or without ending.
    pub(crate) fn answers_to(&self, name: &str) -> bool {
        let short = self.short_name().is_some_and(|short| short.eq_ignore_ascii_case(name));
        short || self.full_name() == name || self.file == name || self.model() == name
    }

    /// The shortest name that [`Self::parse`] understands.
    pub(crate) fn name(&self) -> String {
        self.short_name().map_or_else(|| self.full_name(), str::to_owned)
    }

    /// Where the file lies in the folder of models. Other revisions of it lie elsewhere.
    pub(crate) fn path(&self) -> PathBuf {
        let mut path = PathBuf::from(&self.repository);
        // In one piece, so that no branch can look like the folder of another one's file.
        path.push(self.revision.replace('/', "%2F"));
        path.extend(self.file.split('/'));
        path
    }

    /// Where the hub serves the file at a revision, which may be the commit that this one's revision stood for.
    pub(crate) fn url(&self, endpoint: &Url, revision: &str) -> Url {
        let mut url = endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(self.repository.split('/'));
            path.push("resolve").push(revision).extend(self.file.split('/'));
        }
        url
    }

    fn short_name(&self) -> Option<&'static str> {
        let mut entries = CATALOGUE.iter();
        let entry = entries.find(|entry| entry.repository == self.repository && entry.file == self.file)?;
        Some(entry.name)
    }

    fn full_name(&self) -> String {
        format!("{}/{}", self.repository, self.file)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.repository, self.file)?;
        if !self.is_default_revision() {
            write!(f, " at {}", self.revision)?;
        }
        Ok(())
    }
}

/// Whether a text may be one segment of a path, here and at the hub: nothing hidden, nothing that leads upwards.
fn is_name(text: &str, longest: usize) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-+=".contains(c);
    (1..=longest).contains(&text.len())
        && text.chars().all(allowed)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && !text.ends_with('.')
        && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_and_the_whole_one_mean_the_same_file() {
        let short = Reference::parse("Phi-3-mini", None).expect("it is in the catalogue");
        let whole = "microsoft/Phi-3-mini-4k-instruct-gguf/Phi-3-mini-4k-instruct-q4.gguf";
        assert_eq!(Reference::parse(whole, None), Ok(short.clone()));
        assert_eq!((short.name().as_str(), short.model()), ("phi-3-mini", "Phi-3-mini-4k-instruct-q4"));
        for name in ["phi-3-mini", whole, "Phi-3-mini-4k-instruct-q4.gguf", "Phi-3-mini-4k-instruct-q4"] {
            assert!(short.answers_to(name), "{name}");
        }
        assert!(!short.answers_to("phi"));
    }

    #[test]
    fn every_entry_of_the_catalogue_names_a_file() {
        for entry in CATALOGUE {
            let reference = Reference::parse(entry.name, None).expect("the catalogue is sound");
            assert_eq!(reference.name(), entry.name);
        }
    }

    #[test]
    fn a_name_cannot_lead_out_of_the_folder_or_to_another_place_of_the_hub() {
        for name in [
            "../b/c.gguf",
            "a/../c.gguf",
            "a/b/../c.gguf",
            "a/b/c/../../../d.gguf",
            "/a/b/c.gguf",
            "a/b//c.gguf",
            "a/b/",
            "a/b/.gguf",
            "a/b/.c.gguf",
            "a/b/c\\d.gguf",
            "a/b/C:c.gguf",
            "a/b/c%2F.gguf",
            "a/b/c.gguf?d.gguf",
            "a/b/c#.gguf",
            "a/b/c\n.gguf",
            "a/b/c.bin",
            "a/b/c.gguf.",
            "-a/b/c.gguf",
            "phi",
            "",
        ] {
            assert!(Reference::parse(name, None).is_err(), "{name:?}");
        }
        for revision in ["", "..", "a/../b", "/a", "-a", "a b", "a?b", &"a".repeat(201)] {
            assert!(Reference::parse("a/b/c.gguf", Some(revision)).is_err(), "{revision:?}");
        }
        let long = format!("a/b/{}.gguf", "c".repeat(196));
        assert!(Reference::parse(&long, None).is_err());
    }

    #[test]
    fn a_revision_is_one_segment_of_the_address_and_of_the_path() {
        let reference = Reference::parse("a/b/c/d.gguf", Some("refs/pr/1")).expect("a branch");
        let endpoint = Url::parse("http://127.0.0.1:1/hub/").expect("an address");
        let url = reference.url(&endpoint, reference.revision());
        assert_eq!(url.as_str(), "http://127.0.0.1:1/hub/a/b/resolve/refs%2Fpr%2F1/c/d.gguf");
        assert_eq!(reference.path(), PathBuf::from("a/b/refs%2Fpr%2F1/c/d.gguf"));
        assert_eq!(reference.to_string(), "a/b/c/d.gguf at refs/pr/1");
    }
}
