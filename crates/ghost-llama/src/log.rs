//! llama.cpp's own log, as debug events of ours; it never holds prompts.
//!
//! The first complaint of a thread is kept, since it says why a model could not be loaded; later ones only that.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::sync::Once;

use llama_cpp_sys_2::{GGML_LOG_LEVEL_ERROR, ggml_log_level, llama_log_set};
use tracing::debug;

thread_local! {
    static COMPLAINT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Takes over llama.cpp's log for the whole process.
#[expect(unsafe_code, reason = "llama-cpp-2 hands the log on at llama.cpp's own levels, which are too loud")]
pub(crate) fn capture() {
    static ONCE: Once = Once::new();
    // SAFETY: `record` has the signature that llama.cpp calls, lives forever, and reads no user data.
    ONCE.call_once(|| unsafe { llama_log_set(Some(record), std::ptr::null_mut()) });
}

/// What llama.cpp first complained about on this thread since this was asked last.
pub(crate) fn take_complaint() -> Option<String> {
    COMPLAINT.take()
}

#[expect(unsafe_code, reason = "the callback is given a C string")]
unsafe extern "C" fn record(level: ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a NUL-terminated string that lives until this returns.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let text = text.trim_end();
    if text.is_empty() {
        return;
    }
    if level == GGML_LOG_LEVEL_ERROR {
        COMPLAINT.with_borrow_mut(|complaint| {
            complaint.get_or_insert_with(|| text.to_owned());
        });
    }
    debug!(target: "llama.cpp", "{text}");
}
