//! Two ghosts of one's own.
//!
//! [`Totals`] adds up the lines of an invoice. It needs no model for what it can read itself, asks the swarm's models
//! for the lines that it cannot, and has its total noted by whoever offers `notary`. [`Notary`] offers that.
//! `docs/ghosts.md` walks through it.

use async_trait::async_trait;
use ghost_core::lifecycle::{Answer, Failure};
use ghost_core::task::{Status, TaskRequest};
use ghost_worker::ghost::{Ghost, Task, Trouble};
use serde_json::Value;

/// Adds up invoices; its tasks ask for the capability `invoice_total`.
#[derive(Debug, Default)]
pub struct Totals;

#[async_trait]
impl Ghost for Totals {
    fn capabilities(&self) -> Vec<String> {
        vec!["invoice_total".to_owned()]
    }

    async fn process_task(&self, task: &Task) -> Result<Answer, Trouble> {
        let invoice = task.request.parameters.prompt.as_deref().unwrap_or(&task.request.description);
        let mut cents = 0;
        for line in invoice.lines().filter(|line| !line.trim().is_empty()) {
            let amount = match amount(line) {
                Some(amount) => amount,
                None => ask_for_amount(task, line).await?,
            };
            cents += amount;
            // Whoever watches the task sees how far it is.
            task.say(format!("{line} → {}\n", money(amount))).await;
        }
        let noted =
            task.send_task("notary", TaskRequest::new("note", format!("total {}", money(cents)))).await?;
        if noted.status != Status::Completed {
            let words = format!("the total could not be noted: {}", noted.error.unwrap_or_default());
            return Err(Failure::new("not_noted", words).into());
        }
        Ok(task.answer(money(cents)))
    }
}

/// Has the models read what this ghost cannot.
async fn ask_for_amount(task: &Task, line: &str) -> Result<i64, Trouble> {
    let mut question = TaskRequest::new("extract_value", "Which amount does this line name, as in 12.50?");
    question.parameters.prompt = Some(line.to_owned());
    let answer = task.infer(question).await?;
    amount(&answer.text).ok_or_else(|| {
        Failure::new("unreadable", format!("no amount can be read from the line `{line}`")).into()
    })
}

/// The amount at the end of a line, in cents.
fn amount(line: &str) -> Option<i64> {
    let (whole, cents) = line.split_whitespace().last()?.split_once('.')?;
    let digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    if whole.is_empty() || whole.len() > 12 || cents.len() != 2 || !digits(whole) || !digits(cents) {
        return None;
    }
    Some(whole.parse::<i64>().ok()? * 100 + cents.parse::<i64>().ok()?)
}

fn money(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// Notes what it is told; its tasks ask for the capability `notary`.
#[derive(Debug, Default)]
pub struct Notary {
    book: std::sync::Mutex<Vec<String>>,
}

#[async_trait]
impl Ghost for Notary {
    fn capabilities(&self) -> Vec<String> {
        vec!["notary".to_owned()]
    }

    /// One at a time, so that the book is in order.
    fn max_load(&self) -> usize {
        1
    }

    async fn process_task(&self, task: &Task) -> Result<Answer, Trouble> {
        let mut book = self.book.lock().map_err(|_| Failure::new("torn", "the book is torn"))?;
        book.push(task.request.description.clone());
        let from = task.request.context.get("sent_by").and_then(Value::as_str).unwrap_or("somebody");
        Ok(task.answer(format!("noted as entry {} for {from}", book.len())))
    }
}
