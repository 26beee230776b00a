//! Which models the settings name, told without loading any: for programs that decide and judge but run none.

use ghost_core::checks::Help;
use ghost_core::config::{Config, SlmChoice};
use ghost_core::taskmaster::capability::{Capability, Error};
use ghost_core::taskmaster::route::Available;

const TINY: &str = include_str!("../../../models/ghost-tiny.toml");

/// Who could answer.
///
/// # Errors
/// [`Error`] where the table of a model of one's own makes no sense.
pub fn available(config: &Config) -> Result<Available, Error> {
    Ok(Available {
        slm: capability(config)?,
        llm: config.llm.choice().is_some(),
        hybrid: config.routing.hybrid,
    })
}

/// Who could do better than an answer that is rejected.
///
/// # Errors
/// [`Error`] where the table of a model of one's own makes no sense.
pub fn help(config: &Config) -> Result<Help, Error> {
    let available = available(config)?;
    Ok(Help {
        llm_available: available.llm,
        fallback: config.routing.fallback,
        slm_revises: available.slm.is_some_and(|slm| slm.general),
    })
}

/// What the configured local model can do; none where there is none.
///
/// # Errors
/// [`Error`] where the table of a model of one's own makes no sense.
pub fn capability(config: &Config) -> Result<Option<Capability>, Error> {
    Ok(match config.slm.choice() {
        SlmChoice::None => None,
        SlmChoice::Endpoint { model, .. } => Some(Capability::general(model)),
        SlmChoice::File(path) => Some(Capability::beside(path)?),
        SlmChoice::Embedded => Some(tiny()),
    })
}

/// What the model inside the programs can do, as measured.
pub fn tiny() -> Capability {
    Capability::parse(TINY).expect("the shipped table is checked by a test")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_table_is_sound() {
        assert!(!tiny().general, "the tiny model takes its kinds and nothing else");
    }
}
