//! Server-sent events out of a stream of bytes, with bounds: an event that does not end and a stream that does not end
//! are errors, bytes that are no UTF-8 become U+FFFD and spoil one event instead of the stream.

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use encoding_rs::UTF_8;
use futures_util::{Stream, StreamExt};
use sse_stream::SseByteStream;

/// An event with the largest arguments of a tool call that a provider is known to send has a few KiB.
const MAX_EVENT_BYTES: usize = 4 << 20;
/// 128,000 tokens, each in an event of its own of some 200 bytes, are 25 MiB.
const MAX_STREAM_BYTES: usize = 128 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its type, where it names one.
    pub name: Option<String>,
    /// What it says.
    pub data: String,
}

/// The events in a stream of bytes; the first error, in words, is the last item. An event that the end of the stream
/// cuts off is dropped.
pub fn events<B, E>(
    bytes: impl Stream<Item = Result<B, E>> + Unpin + Send,
) -> impl Stream<Item = Result<Event, String>> + Unpin + Send
where
    B: AsRef<[u8]>,
    E: std::fmt::Display,
{
    let pending = Arc::new(AtomicUsize::new(0));
    let reset = Arc::clone(&pending);
    let mut total = 0;
    let mut decoder = UTF_8.new_decoder();
    let text = bytes.map(move |chunk| {
        let chunk = chunk.map_err(|error| Broken(error.to_string()))?;
        let chunk = chunk.as_ref();
        total += chunk.len();
        let unfinished = pending.fetch_add(chunk.len(), Ordering::Relaxed) + chunk.len();
        if unfinished > MAX_EVENT_BYTES || total > MAX_STREAM_BYTES {
            return Err(Broken(format!("an event or the answer has too many bytes ({unfinished}, {total})")));
        }
        let room = decoder.max_utf8_buffer_length(chunk.len()).unwrap_or(0);
        let mut text = String::with_capacity(room);
        let _ = decoder.decode_to_string(chunk, &mut text, false);
        Ok(Cursor::new(text.into_bytes()))
    });
    SseByteStream::new(text).filter_map(move |event| {
        reset.store(0, Ordering::Relaxed);
        std::future::ready(match event {
            Ok(event) => event.data.map(|data| Ok(Event { name: event.event, data })),
            Err(error) => Some(Err(error.to_string())),
        })
    })
}

/// Why the bytes ended.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Broken(String);

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;

    async fn read(chunks: Vec<Vec<u8>>) -> Vec<Result<Event, String>> {
        events(stream::iter(chunks.into_iter().map(Ok::<_, Infallible>))).collect().await
    }

    fn event(name: Option<&str>, data: &str) -> Result<Event, String> {
        Ok(Event { name: name.map(str::to_owned), data: data.to_owned() })
    }

    #[tokio::test]
    async fn events_are_the_same_however_the_bytes_are_cut() {
        let text =
            "event: a\ndata: {\"x\": \"é\"}\n\n: a comment\r\n\r\ndata: one\r\ndata: two\r\n\r\nid: 7\n\n";
        let whole = read(vec![text.as_bytes().to_vec()]).await;
        assert_eq!(whole, [event(Some("a"), "{\"x\": \"é\"}"), event(None, "one\ntwo")]);
        for size in 1..8 {
            assert_eq!(read(text.as_bytes().chunks(size).map(<[u8]>::to_vec).collect()).await, whole);
        }
    }

    #[tokio::test]
    async fn broken_utf8_spoils_its_own_event_only() {
        let events = read(vec![b"data: \xff\xc3\n\ndata: fine\n\n".to_vec()]).await;
        assert_eq!(events, [event(None, "\u{fffd}\u{fffd}"), event(None, "fine")]);
    }

    #[tokio::test]
    async fn an_event_that_the_end_cuts_off_is_dropped() {
        assert_eq!(read(vec![b"data: whole\n\ndata: ha".to_vec()]).await, [event(None, "whole")]);
    }

    #[tokio::test]
    async fn an_event_without_end_is_an_error_and_many_small_ones_are_not() {
        let chunk = vec![b'x'; 64 << 10];
        let mut endless = vec![b"data: ".to_vec()];
        endless.extend(std::iter::repeat_n(chunk, 65));
        let events = read(endless).await;
        assert!(matches!(&events[..], [Err(message)] if message.contains("too many bytes")), "{events:?}");
        let mut small = vec![b'y'; 32 << 10];
        small.splice(..6, *b"data: ");
        small.extend(b"\n\n");
        assert!(read(vec![small; 200]).await.iter().all(Result::is_ok));
    }
}
