//! Judges answers that wait for an evaluator while none is alive: by the formal checks, and marked so.

use std::sync::Arc;

use ghost_core::broker::{Claim, MAX_BATCH, advance};
use ghost_core::checks;
use ghost_core::lifecycle::{Evaluation, Stage};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Inner;

pub(crate) async fn run(inner: Arc<Inner>, shutdown: CancellationToken) {
    // The first look comes when an evaluator had time to announce itself.
    let mut pause = inner.config.evaluator_grace;
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = sleep(pause) => {}
        }
        pause = inner.config.evaluator_grace / 4;
        while !inner.evaluator_expected().await && judge_some(&inner).await > 0 {}
    }
}

async fn judge_some(inner: &Inner) -> usize {
    let claim = Claim {
        stage: Stage::Evaluate,
        holder: inner.config.agent_id.clone(),
        capabilities: Vec::new(),
        limit: MAX_BATCH,
        lease: inner.config.lease,
    };
    let records = match inner.broker.claim(&claim).await {
        Ok(records) => records,
        Err(error) => {
            warn!(error = %error, "no answers could be claimed: {error}");
            return 0;
        }
    };
    let claimed = records.len();
    for record in records {
        let Some(event) = checks::verdict_on(&record, Evaluation::FormalOnly, inner.help) else { continue };
        let key = record.key.clone();
        match advance(&*inner.broker, record, event).await {
            Ok(_) => info!(task.id = %key, "task {key} was judged by its form, as no evaluator is alive"),
            Err(error) => warn!(task.id = %key, error = %error, "task {key} was not judged: {error}"),
        }
    }
    claimed
}
