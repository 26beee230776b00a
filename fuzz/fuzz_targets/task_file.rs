//! Any file is read to its end: each line is a named task, no id twice, or a rejection with its number and its reason.

#![no_main]

use std::collections::HashSet;

use ghost_core::task_file::{Line, TaskFile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (mut ids, mut last) = (HashSet::new(), 0);
    for line in TaskFile::new(bytes) {
        match line.expect("reading from memory never fails") {
            Line::Task(request) => assert!(ids.insert(request.task_id.expect("a reader names every task"))),
            Line::Rejected(rejection) => {
                assert!(rejection.line > last && !rejection.reason.is_empty());
                last = rejection.line;
            }
        }
    }
});
