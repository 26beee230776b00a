//! `ghost models pull`: brings a model from the hub and says how to use it.

use anyhow::Context as _;
use ghost_core::retry::Retry;
use ghost_service::shutdown;

use crate::context::Context;
use crate::exit::{Exit, misuse};
use crate::hub::{FOLDER, Hub, LOCK_FILE, News, Order, Patience, Pulled, Reference, pull};
use crate::output::{self, bytes, duration, talk};
use crate::progress::Progress;

/// Bring a model from the hub into the data directory, or go on with it where the last pull ended
///
///   ghost models pull phi-3-mini
///   ghost models pull OWNER/REPO/FILE.gguf --revision v1.0
///
/// What the hub says of its size and SHA-256 is pinned in models.lock and checked ever after.
/// HF_TOKEN is for models that need an account, HF_ENDPOINT for a mirror.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// A name of the catalogue (`ghost models list`), or OWNER/REPO/FILE.gguf
    name: String,
    /// The branch, tag or commit of the repository
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Ask the hub even where the file is here, and take what it has now in place of what was pinned
    #[arg(long)]
    update: bool,
}

pub(crate) async fn perform(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    let reference =
        Reference::parse(&args.name, args.revision.as_deref()).map_err(|error| misuse(error.to_string()))?;
    let models = context.data()?.folder(FOLDER).context("the folder of models cannot be made")?;
    let settings = &context.config.hub;
    let hub = Hub::new(&settings.endpoint, settings.token.clone(), Patience::default())?;
    let order = Order { reference, update: args.update };

    let mut display = Display { progress: None };
    let signals = shutdown::signals();
    let mut tell = |news| display.show(news);
    let pulling = pull(&hub, &models, &order, &mut tell);
    let pulled = signals.drain.run_until_cancelled(pulling).await;
    display.clear();
    let Some(pulled) = pulled else {
        talk("interrupted; the same command goes on where this one was");
        return Ok(Exit::Interrupted);
    };
    let Pulled { path, pin, was_here } = pulled.map_err(|error| {
        let next =
            if error.retry() == Retry::Never { "" } else { " now; try again later, what has come is kept" };
        anyhow::Error::from(error).context(format!("{} cannot be pulled{next}", order.reference))
    })?;
    let how = if was_here { "was here already, and is right" } else { "is here" };
    talk(format!(
        "{} {how}: {}, sha256 {}, pinned in {LOCK_FILE}",
        order.reference,
        bytes(pin.size),
        pin.sha256
    ));
    talk("to let it answer, set SLM_MODEL_PATH to it; that is:");
    output::data(&format!("SLM_MODEL_PATH={}", quoted(&path.display().to_string())))?;
    if order.reference.is_default_revision() {
        talk(format!("or, with this data directory, SLM_MODEL={}", order.reference.name()));
    }
    Ok(Exit::Success)
}

/// What a shell and `.env` read as one word.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=%:".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// The news, on the terminal.
struct Display {
    progress: Option<(Progress, &'static str)>,
}

impl Display {
    fn show(&mut self, news: News) {
        match news {
            News::Checking { at, size } => self.bytes(at, size, "checked"),
            News::Coming { at, size } => self.bytes(at, size, "here"),
            News::Waiting { why, wait } => {
                let wait = duration(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
                talk(format!("{why} (this goes on in {wait})"));
            }
            News::Again { why } => {
                self.clear();
                talk(format!("{why}; it begins anew"));
            }
        }
    }

    fn bytes(&mut self, at: u64, size: u64, done: &'static str) {
        if self.progress.as_ref().is_none_or(|(_, before)| *before != done) {
            self.clear();
        }
        let (progress, _) = self.progress.get_or_insert_with(|| (Progress::of_bytes(size), done));
        progress.show_bytes(at, size, done);
    }

    fn clear(&mut self) {
        if let Some((progress, _)) = self.progress.take() {
            progress.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_for_a_shell() {
        assert_eq!(quoted("/data/a.gguf"), "/data/a.gguf");
        assert_eq!(quoted("/my data/it's.gguf"), r"'/my data/it'\''s.gguf'");
    }
}
