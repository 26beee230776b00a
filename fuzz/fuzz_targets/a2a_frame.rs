//! Any text is refused with words, or is a frame that survives being written and read again.

#![no_main]

use ghost_a2a::frame::Frame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Frame::parse(text) {
        Ok(frame) => assert_eq!(Frame::parse(&frame.to_json()), Ok(frame)),
        Err(malformed) => assert!(!malformed.error.message.is_empty()),
    }
});
