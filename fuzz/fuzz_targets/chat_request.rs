//! Any body is refused with words and a status of the caller's fault, or is a request that the engine can be asked.

#![no_main]

use ghost_worker::serve::Asked;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Asked::parse(bytes) {
        Ok(asked) => {
            assert!(asked.request.max_tokens >= 1 && asked.request.sampling.out_of_range().is_none());
            assert!(!asked.request.messages.is_empty() && (asked.stream || !asked.include_usage));
        }
        Err(refusal) => assert!(refusal.status.is_client_error() && !refusal.message.is_empty()),
    }
});
