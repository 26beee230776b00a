//! Passes an answer on as it appears, each part of it once, though the call behind it may begin again.

use crate::inference::Deltas;

/// What was passed on so far, and how far the present call has come in repeating it.
#[derive(Debug)]
pub(super) struct Relay {
    out: Deltas,
    sent: String,
    repeated: usize,
    diverged: bool,
}

impl Relay {
    pub(super) fn new(out: Deltas) -> Self {
        Self { out, sent: String::new(), repeated: 0, diverged: false }
    }

    /// A call begins: what it says first may have been passed on already.
    pub(super) fn restart(&mut self) {
        self.repeated = 0;
        self.diverged = false;
    }

    /// Passes on what is new. A call that says something else than the one before is no longer passed on: what was
    /// said cannot be taken back, and the record has the whole answer.
    pub(super) async fn push(&mut self, text: &str) {
        if self.diverged {
            return;
        }
        let known = &self.sent[self.repeated..];
        if let Some(new) = text.strip_prefix(known) {
            let new = new.to_owned();
            self.sent.push_str(&new);
            self.repeated = self.sent.len();
            if !new.is_empty() {
                // Whoever listened may be gone; the answer is wanted all the same.
                let _ = self.out.send(new).await;
            }
        } else if known.starts_with(text) {
            self.repeated += text.len();
        } else {
            self.diverged = true;
        }
    }

    /// The call is over and this is all it said.
    pub(super) async fn finish(&mut self, whole: &str) {
        self.restart();
        self.push(whole).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    async fn passed_on(calls: &[&[&str]]) -> String {
        let (out, mut heard) = mpsc::channel(64);
        let mut relay = Relay::new(out);
        for call in calls {
            relay.restart();
            for part in *call {
                relay.push(part).await;
            }
        }
        drop(relay);
        let mut text = String::new();
        while let Some(part) = heard.recv().await {
            text.push_str(&part);
        }
        text
    }

    #[tokio::test]
    async fn a_call_that_begins_again_is_heard_once() {
        assert_eq!(passed_on(&[&["one ", "two "], &["one two th", "ree"]]).await, "one two three");
        assert_eq!(passed_on(&[&["äö"], &["ä", "ö", "ü"]]).await, "äöü");
    }

    #[tokio::test]
    async fn a_call_that_says_something_else_is_not_mixed_into_the_first() {
        assert_eq!(passed_on(&[&["one ", "two "], &["one ", "three ", "four"]]).await, "one two ");
    }

    #[tokio::test]
    async fn the_whole_completes_what_was_heard() {
        let (out, mut heard) = mpsc::channel(64);
        let mut relay = Relay::new(out);
        relay.push("one ").await;
        relay.finish("one two").await;
        assert_eq!(
            (heard.recv().await, heard.recv().await),
            (Some("one ".to_owned()), Some("two".to_owned()))
        );
    }
}
