//! Any bytes are refused with words, or are a request that survives being written and read again.

#![no_main]

use ghost_core::task::TaskRequest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match TaskRequest::parse(bytes) {
        Ok(request) => {
            let json = serde_json::to_vec(&request).expect("a request is always JSON");
            let again = TaskRequest::parse(&json).expect("what we write we can read");
            assert_eq!(again, request);
            assert_eq!(again.fingerprint(), request.fingerprint());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
