//! Models from a hub: pulled once, pinned by what the hub said of them, checked ever after.
//!
//! [`mod@reference`] says what a model is called and where its file lies, [`catalogue`] has short names for a few,
//! [`lock_file`] remembers size and SHA-256 of each, [`remote`] speaks with the hub, [`part`] is the file in the making,
//! and [`mod@pull`] is the way of a model from its name to its file. No size and no hash stands in the program: both come
//! from the hub's first answer.

mod catalogue;
mod error;
mod hash;
mod lock_file;
mod part;
mod pull;
mod reference;
mod remote;
#[cfg(test)]
mod tests;

use std::path::Path;

use ghost_core::config::{Config, SlmProvider};

pub(crate) use catalogue::CATALOGUE;
pub(crate) use lock_file::{LOCK_FILE, Pin, Pins};
pub(crate) use part::hash_of;
pub(crate) use pull::{News, Order, Pulled, pull};
pub(crate) use reference::Reference;
pub(crate) use remote::{Hub, Patience};

use ghost_service::data_dir::DataDir;
use ghost_service::models;

/// The folder in the data directory that holds models.
pub(crate) const FOLDER: &str = "models";

/// Lets `SLM_MODEL` name a pulled model where no server and no file is named; a warning where that leads nowhere.
pub(crate) fn resolve(config: &mut Config) -> Option<String> {
    let slm = &config.slm;
    if slm.provider == SlmProvider::None || slm.endpoint.is_some() || slm.model_path.is_some() {
        return None;
    }
    let name = slm.model.clone()?;
    if name == models::tiny().model {
        return None;
    }
    // Whoever needs the directory says why there is none.
    let models = DataDir::locate(config.broker.data.as_deref()).ok()?.join(FOLDER);
    match named(&models, &name) {
        Ok(path) => {
            config.slm.model_path = Some(path);
            None
        }
        Err(why) => Some(format!("SLM_MODEL={name}: {why}; the built-in model answers")),
    }
}

/// The file of the one pulled model that answers to a name.
pub(crate) fn named(models: &Path, name: &str) -> Result<std::path::PathBuf, String> {
    let pins = Pins::read(models).map_err(|error| error.to_string())?;
    let here = pins
        .named(name)
        .filter(|(reference, pin)| pin.verified.is_some() && models.join(reference.path()).is_file());
    let mut here: Vec<_> = here.map(|(reference, _)| reference).collect();
    if here.len() > 1 {
        here.retain(|reference| reference.is_default_revision());
    }
    match here[..] {
        [one] => Ok(models.join(one.path())),
        [] if Reference::parse(name, None).is_ok() => {
            Err(format!("it is not here; `ghost models pull {name}` brings it"))
        }
        [] => {
            Err("no pulled model is called so (`ghost models list` shows them), and there is no SLM_ENDPOINT"
                .to_owned())
        }
        [..] => Err("several pulled models are called so; name the file with SLM_MODEL_PATH".to_owned()),
    }
}
