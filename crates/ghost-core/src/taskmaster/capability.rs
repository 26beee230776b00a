//! What a local model can do: a table in a TOML file beside its GGUF.
//!
//! The table bounds the route ([`route`](super::route)): a model that is not `general` takes the kinds that its table
//! names and nothing else. A GGUF without a table counts as general.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::task::Kind;

/// What one local model can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    /// The model's name.
    pub model: String,
    /// Whether it takes any prompt, by TaskMaster's score; otherwise only the kinds below.
    #[serde(default)]
    pub general: bool,
    /// The tokens that a prompt and its answer may have together.
    pub context_tokens: u32,
    /// The most bytes of a prompt; a longer one goes to the LLM.
    pub max_input_bytes: usize,
    /// The languages that it was measured on, as in `en`.
    #[serde(default)]
    pub languages: Vec<String>,
    /// How well it does each kind.
    #[serde(default)]
    pub kinds: BTreeMap<Kind, Skill>,
}

/// How well a model does one kind of task, as measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skill {
    /// The share of its answers that are right, 0 to 1.
    pub accuracy: f64,
    /// The share of tasks that it answers, 0 to 1.
    pub coverage: f64,
    /// An answer with less confidence is not given but sent up, 0 to 1.
    pub min_confidence: f64,
}

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is there and cannot be read.
    #[error("cannot read the capability table {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no such table.
    #[error("the capability table {}: {problem}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Where and what, and what would be right.
        problem: String,
    },
}

impl Capability {
    /// A model that takes any prompt, as nobody measured it. 8 KiB of prompt leave room for an answer in 4,096
    /// tokens.
    pub fn general(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            general: true,
            context_tokens: 4096,
            max_input_bytes: 8192,
            languages: Vec::new(),
            kinds: BTreeMap::new(),
        }
    }

    /// The table beside a GGUF: the same path with the ending `.toml`. Without one the model counts as general.
    ///
    /// # Errors
    /// [`Error`] where there is a file that cannot be read or makes no sense.
    pub fn beside(gguf: &Path) -> Result<Self, Error> {
        let path = gguf.with_extension("toml");
        match std::fs::read_to_string(&path) {
            Ok(toml) => Self::parse(&toml).map_err(|problem| Error::Invalid { path, problem }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let name = gguf.file_stem().unwrap_or(gguf.as_os_str());
                Ok(Self::general(name.to_string_lossy()))
            }
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// Reads a table and checks every number in it.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(toml: &str) -> Result<Self, String> {
        let table: Self = toml::from_str(toml).map_err(|error| error.to_string().trim_end().to_owned())?;
        table.check()?;
        Ok(table)
    }

    /// Checks every number, wherever the table comes from.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn check(&self) -> Result<(), String> {
        if self.model.trim().is_empty() {
            return Err("model: must name the model".to_owned());
        }
        if self.context_tokens == 0 || self.max_input_bytes == 0 {
            return Err("context_tokens and max_input_bytes: must be above 0".to_owned());
        }
        if !self.general && self.kinds.is_empty() {
            return Err("kinds: a model that is not general needs at least one [kinds.…]".to_owned());
        }
        for (kind, skill) in &self.kinds {
            let shares = [
                ("accuracy", skill.accuracy),
                ("coverage", skill.coverage),
                ("min_confidence", skill.min_confidence),
            ];
            if let Some((name, share)) = shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
                return Err(format!("kinds.{kind}.{name}: must be 0 to 1, not {share}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: &str = r#"
model = "ghost-tiny"
general = false
context_tokens = 1024
max_input_bytes = 800
languages = ["en"]
[kinds.json_field]
accuracy = 0.98
coverage = 0.93
min_confidence = 0.62
"#;

    fn refused(toml: &str, expected: &str) {
        let problem = Capability::parse(toml).expect_err(expected);
        assert!(problem.contains(expected), "{problem}");
    }

    #[test]
    fn the_table_beside_a_gguf_is_its_capability() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("ghost-tiny.toml"), TINY).expect("written");
        let table = Capability::beside(&directory.path().join("ghost-tiny.gguf")).expect("a table");
        assert_eq!((table.model.as_str(), table.general, table.max_input_bytes), ("ghost-tiny", false, 800));
        assert_eq!(table.kinds[&Kind::JsonField].min_confidence, 0.62);
    }

    #[test]
    fn a_gguf_without_a_table_is_general_and_keeps_its_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let general = Capability::beside(&directory.path().join("phi-3-mini.gguf")).expect("general");
        assert_eq!(general, Capability::general("phi-3-mini"));
    }

    #[test]
    fn a_table_that_makes_no_sense_is_refused_with_its_place() {
        refused(&TINY.replace("0.98", "1.2"), "kinds.json_field.accuracy: must be 0 to 1, not 1.2");
        refused(&TINY.replace("0.62", "nan"), "kinds.json_field.min_confidence");
        refused(&TINY.replace("json_field", "poetry"), "unknown variant `poetry`");
        refused(&TINY.replace("coverage", "covers"), "unknown field `covers`");
        refused(&TINY.replace("1024", "-1"), "context_tokens");
        refused(&TINY.replace("800", "0"), "must be above 0");
        refused(TINY.split("[kinds").next().expect("a head"), "at least one [kinds.…]");
        refused("model = ", "line 1");
    }

    #[test]
    fn an_error_names_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("a.toml"), "general = 3").expect("written");
        let error = Capability::beside(&directory.path().join("a.gguf")).expect_err("no table");
        assert!(error.to_string().contains("a.toml"), "{error}");
        std::fs::create_dir(directory.path().join("b.toml")).expect("made");
        let error = Capability::beside(&directory.path().join("b.gguf")).expect_err("a directory");
        assert!(matches!(error, Error::Read { .. }), "{error}");
    }
}
