//! `ghost queue`: how many tasks stand where.

use std::collections::BTreeMap;

use ghost_core::task::Status;

use crate::context::Context;
use crate::exit::Exit;
use crate::output::{self, table};

pub(crate) async fn perform(context: &Context) -> anyhow::Result<Exit> {
    let counted = context.access()?.queue().await?;
    let count = |status: Status| counted.iter().find(|(of, _)| *of == status).map_or(0, |(_, n)| *n);
    let all: BTreeMap<&str, u64> =
        Status::ALL.into_iter().map(|status| (status.name(), count(status))).collect();
    output::one(context.format(), &all, |_| {
        table(
            ["STATUS", "TASKS"],
            Status::ALL.map(|status| [status.name().to_owned(), count(status).to_string()]),
        )
    })?;
    Ok(Exit::Success)
}
