//! `ghost feedback`: says how good an answer was.

use anyhow::Context as _;
use ghost_core::feedback::{Feedback, Rating};

use crate::context::Context;
use crate::exit::{Exit, misuse};
use crate::output::talk;

/// Say how good an answer was; the last word counts
///
///   ghost feedback line-3-a1b2c3d4 --good
///   ghost feedback line-3-a1b2c3d4 --bad --comment "that is last year's price" --correction "12.50"
///
/// TaskMaster learns from it (`ghost taskmaster retrain`), and experiments count it (`ghost experiment status`). It stays
/// with the task and goes when the task goes.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
#[command(group = clap::ArgGroup::new("how").required(true))]
pub(crate) struct Args {
    /// The task's id, or RUN/ID where several runs have one of this id
    task: String,
    /// The answer was right
    #[arg(long, group = "how")]
    good: bool,
    /// The answer was wrong
    #[arg(long, group = "how")]
    bad: bool,
    /// Something between: 0 (bad) to 1 (good)
    #[arg(long, group = "how", value_name = "0..1")]
    rating: Option<f64>,
    /// Why, in words
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// The answer that would have been right; @FILE reads it from a file
    #[arg(long, value_name = "TEXT")]
    correction: Option<String>,
}

pub(crate) async fn perform(context: &Context, args: Args) -> anyhow::Result<Exit> {
    let rating = match args.rating {
        Some(rating) => Rating::new(rating)
            .ok_or_else(|| misuse(format!("--rating is 0 (bad) to 1 (good), not {rating}")))?,
        None if args.good => Rating::GOOD,
        None => Rating::BAD,
    };
    let correction = match args.correction.as_deref().map(|text| (text, text.strip_prefix('@'))) {
        Some((_, Some(file))) => {
            Some(std::fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?)
        }
        Some((text, None)) => Some(text.to_owned()),
        None => None,
    };
    let feedback = Feedback { rating, comment: args.comment, correction };
    let feedback = feedback.checked().map_err(|error| misuse(error.to_string()))?;
    let access = context.access()?;
    let record = access.find(&args.task).await?;
    access.rate(record, feedback).await?;
    talk(format!("noted: {} was {}", args.task, words(rating)));
    Ok(Exit::Success)
}

fn words(rating: Rating) -> String {
    match rating {
        Rating::GOOD => "good".to_owned(),
        Rating::BAD => "bad".to_owned(),
        between => format!("{} of 1", between.get()),
    }
}
