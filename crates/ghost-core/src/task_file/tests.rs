use super::*;

fn read(bytes: impl AsRef<[u8]>) -> Vec<Line> {
    TaskFile::new(bytes.as_ref()).map(|line| line.expect("reading from memory never fails")).collect()
}

fn rejected(bytes: impl AsRef<[u8]>) -> String {
    match &read(bytes)[..] {
        [Line::Rejected(rejection)] => rejection.reason.clone(),
        other => panic!("expected one rejected line, got {other:?}"),
    }
}

fn ids(lines: &[Line]) -> Vec<String> {
    lines
        .iter()
        .map(|line| match line {
            Line::Task(request) => request.task_id.as_ref().expect("a reader names every task").to_string(),
            Line::Rejected(rejection) => format!("!{}", rejection.line),
        })
        .collect()
}

const GOOD: &str = r#"{"task_id":"a","task_type":"classify","description":"Sort this"}"#;

#[test]
fn a_bad_line_never_keeps_the_rest_from_running() {
    let file = format!("{GOOD}\n{{\"task_type\":\n\n  \n{}\n", GOOD.replace("\"a\"", "\"b\""));
    assert_eq!(ids(&read(file)), ["a", "!2", "b"]);
}

#[test]
fn a_last_line_needs_no_line_end_and_windows_line_ends_do_not_matter() {
    assert_eq!(ids(&read(GOOD)), ["a"]);
    assert_eq!(read(format!("{GOOD}\r\n\r\n")), read(GOOD));
}

#[test]
fn a_byte_order_mark_is_skipped() {
    assert_eq!(ids(&read(format!("\u{feff}{GOOD}\n"))), ["a"]);
    assert_eq!(read("\u{feff}"), []);
}

#[test]
fn an_empty_file_has_no_tasks() {
    assert_eq!(read(""), []);
    assert_eq!(read("\n\n \t\r\n"), []);
}

#[test]
fn a_line_without_an_id_is_named_by_its_number_and_its_bytes() {
    let line = r#"{"task_type":"classify","description":"Sort this"}"#;
    let twice = ids(&read(format!("{line}\n{line}\n")));
    assert!(twice[0].starts_with("line-1-") && twice[1].starts_with("line-2-"), "{twice:?}");
    assert_eq!(twice, ids(&read(format!("{line}\n{line}"))), "the same file names the same tasks");
    assert_ne!(twice[0], ids(&read(line.replace("this", "that")))[0]);
}

#[test]
fn an_id_that_was_used_before_is_rejected_with_the_line_of_its_first_use() {
    let lines = read(format!("\n{GOOD}\n{GOOD}\n{GOOD}\n"));
    let reasons: Vec<_> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Rejected(rejection) => Some((rejection.line, rejection.reason.as_str())),
            Line::Task(_) => None,
        })
        .collect();
    let reason = "task_id `a` was used on line 2 already; ids are unique within a file";
    assert_eq!(reasons, [(3, reason), (4, reason)]);
}

#[test]
fn malformed_json_is_rejected_with_its_column() {
    assert_eq!(rejected(r#"{"task_type":"x","description":"#), "EOF while parsing a value (column 31)");
}

#[test]
fn invalid_utf8_is_rejected_with_its_byte() {
    let mut line = GOOD.as_bytes().to_vec();
    line[20] = 0xff;
    assert_eq!(rejected(line), "not UTF-8: byte 21 is invalid");
}

#[test]
fn unknown_fields_are_named() {
    let reason = rejected(r#"{"task_type":"x","description":"y","prioritty":3}"#);
    assert!(reason.starts_with("unknown field `prioritty`, expected one of `task_id`"), "{reason}");
}

#[test]
fn what_is_no_object_is_no_task() {
    for line in ["[]", "[null,\"x\",\"y\"]", "3", "null", "\"task\"", "hello", "# comment"] {
        assert!(rejected(line).starts_with("a task is a JSON object"), "{line}");
    }
}

#[test]
fn numbers_out_of_range_are_rejected() {
    let with = |fields: &str| rejected(format!(r#"{{"task_type":"x","description":"y",{fields}}}"#));
    assert!(with(r#""priority":0"#).starts_with("priority must be 1 to 10, not 0"));
    assert!(with(r#""priority":11"#).starts_with("priority must be 1 to 10, not 11"));
    assert!(with(r#""timeout":-1"#).starts_with("timeout: must be above 0"));
    assert!(with(r#""timeout":NaN"#).contains("column"), "NaN is no JSON");
    assert!(with(r#""timeout":1e999"#).contains("out of range"));
    assert!(
        with(r#""parameters":{"temperature":-0.1}"#).starts_with("parameters.temperature: must be 0 to 2")
    );
    assert!(with(r#""parameters":{"max_tokens":-5}"#).contains("invalid value"));
}

#[test]
fn deep_nesting_is_rejected_not_followed() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let reason = rejected(format!(r#"{{"task_type":"x","description":"y","context":{{"a":{deep}}}}}"#));
    assert!(reason.starts_with("recursion limit exceeded"), "{reason}");
}

#[test]
fn an_oversized_line_is_refused_without_being_kept_and_the_next_one_runs() {
    let long = format!(r#"{{"task_type":"x","description":"{}"}}"#, "y".repeat(2 * MAX_REQUEST_BYTES));
    let file = format!("{long}\n{GOOD}\n");
    let mut reader = TaskFile::new(file.as_bytes());
    let first = reader.next();
    assert!(
        matches!(&first, Some(Ok(Line::Rejected(r))) if r.reason.starts_with("a task has at most 4194304 bytes")),
        "{first:?}"
    );
    assert!(reader.buffer.capacity() <= 2 * MAX_REQUEST_BYTES, "{}", reader.buffer.capacity());
    assert!(matches!(reader.next(), Some(Ok(Line::Task(_)))));
}

#[test]
fn an_oversized_prompt_is_rejected_by_name() {
    let prompt = "y".repeat(task::MAX_TEXT_BYTES + 1);
    let reason =
        rejected(format!(r#"{{"task_type":"x","description":"y","parameters":{{"prompt":"{prompt}"}}}}"#));
    assert_eq!(reason, "parameters.prompt: has more than 1048576 bytes");
}

#[test]
fn a_disk_that_fails_ends_the_file_with_its_error() {
    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("bad sector"))
        }
    }
    let mut reader = TaskFile::new(io::BufReader::new(Broken));
    assert!(reader.next().is_some_and(|line| line.is_err()));
}
