//! Makes text of an answer's bytes as they come: whole characters only, and nothing that may yet turn out to be the
//! beginning of a stop string.

use encoding_rs::{Decoder, UTF_8};

/// An answer's text so far.
pub(crate) struct TextStream {
    decoder: Decoder,
    text: String,
    /// How many bytes of `text` have been handed out.
    sent: usize,
    stops: Vec<String>,
}

impl TextStream {
    /// A text that ends before the first of these strings.
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { decoder: UTF_8.new_decoder_without_bom_handling(), text: String::new(), sent: 0, stops }
    }

    /// Adds a token's bytes. Bytes that are no UTF-8 become U+FFFD. Returns the stop string that ends the text, which
    /// is cut off before it.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Option<String> {
        let room = self.decoder.max_utf8_buffer_length(bytes.len()).unwrap_or(usize::MAX / 2);
        self.text.reserve(room);
        // The buffer has room for the worst case, so everything is read at once.
        let _ = self.decoder.decode_to_string(bytes, &mut self.text, false);
        // What was sent holds no beginning of a stop string, so each one that is complete now begins behind it.
        let unsent = &self.text[self.sent..];
        let (at, stop) = self
            .stops
            .iter()
            .filter_map(|stop| unsent.find(stop.as_str()).map(|at| (at, stop)))
            .min_by_key(|(at, stop)| (*at, stop.len()))?;
        let stop = stop.clone();
        self.text.truncate(self.sent + at);
        Some(stop)
    }

    /// What can be shown now and was not before.
    pub(crate) fn take(&mut self) -> Option<String> {
        let unsent = &self.text[self.sent..];
        let held = self.stops.iter().map(|stop| overlap(unsent, stop)).max().unwrap_or(0);
        let ready = &unsent[..unsent.len() - held];
        self.sent += ready.len();
        (!ready.is_empty()).then(|| ready.to_owned())
    }

    /// The whole text and the part of it that was held back. A character cut in half at the end is left out.
    pub(crate) fn finish(self) -> (String, Option<String>) {
        let rest = &self.text[self.sent..];
        let rest = (!rest.is_empty()).then(|| rest.to_owned());
        (self.text, rest)
    }
}

/// The length of the longest end of `text` with which `stop` begins, short of all of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    (1..stop.len())
        .rev()
        .filter(|&length| stop.is_char_boundary(length))
        .find(|&length| text.ends_with(&stop[..length]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(chunks: &[&[u8]], stops: &[&str]) -> (String, Vec<String>, Option<String>) {
        let mut text = TextStream::new(stops.iter().map(|&s| s.to_owned()).collect());
        let mut deltas = Vec::new();
        let mut stopped = None;
        for chunk in chunks {
            stopped = text.push(chunk);
            deltas.extend(text.take());
            if stopped.is_some() {
                break;
            }
        }
        let (whole, rest) = text.finish();
        deltas.extend(rest);
        (whole, deltas, stopped)
    }

    #[test]
    fn a_character_split_over_tokens_appears_once_it_is_whole() {
        let (text, deltas, _) = stream(&[b"caf\xc3", b"\xa9 \xf0\x9f", b"\x91", b"\xbb"], &[]);
        assert_eq!(text, "café 👻");
        assert_eq!(deltas, ["caf", "é ", "👻"]);
    }

    #[test]
    fn a_character_cut_in_half_at_the_end_is_left_out() {
        assert_eq!(stream(&[b"ok\xf0\x9f"], &[]).0, "ok");
    }

    #[test]
    fn a_stop_string_over_token_borders_ends_the_text_before_it() {
        let (text, deltas, stopped) = stream(&[b"one E", b"N", b"D two"], &["END"]);
        assert_eq!((text.as_str(), stopped.as_deref()), ("one ", Some("END")));
        assert_eq!(deltas, ["one "]);
    }

    #[test]
    fn a_beginning_that_does_not_go_on_is_handed_out_late_but_whole() {
        let (text, deltas, stopped) = stream(&[b"E", b"N", b"X"], &["END"]);
        assert_eq!((text.as_str(), stopped), ("ENX", None));
        assert_eq!(deltas, ["ENX"]);
    }

    #[test]
    fn of_two_stop_strings_the_one_that_is_complete_first_ends_the_text() {
        assert_eq!(stream(&[b"a--b|c"], &["|", "--"]).2.as_deref(), Some("--"));
        assert_eq!(stream(&[b"a---"], &["---", "--"]).2.as_deref(), Some("--"));
    }

    proptest! {
        #[test]
        fn deltas_make_up_the_text_and_the_text_is_what_comes_before_the_stop_string(
            text in "[abé👻]{0,40}", stop in "[abé]{1,4}", cuts in prop::collection::vec(1usize..6, 0..60),
        ) {
            let mut rest = text.as_bytes();
            let mut chunks = Vec::new();
            for cut in cuts.into_iter().chain(std::iter::repeat(usize::MAX)) {
                if rest.is_empty() { break }
                let (chunk, tail) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = tail;
            }
            let (whole, deltas, stopped) = stream(&chunks, &[&stop]);
            prop_assert_eq!(deltas.concat(), whole.clone());
            let expected = text.find(&stop).map_or(text.as_str(), |at| &text[..at]);
            prop_assert_eq!(whole, expected);
            prop_assert_eq!(stopped.is_some(), text.contains(&stop));
        }
    }
}
