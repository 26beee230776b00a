//! Reads a file of tasks, one JSON object a line, as people and programs write it.
//!
//! Pure: bytes go in, and for each line a task or the reason why it is none comes out; a bad line never keeps the
//! rest from running. A line without a `task_id` gets one from its number and its bytes, so that the same file always
//! names the same tasks. Memory is bounded by the longest line allowed, not by the longest line there is.

use std::collections::HashMap;
use std::io::{self, BufRead};

use crate::id::TaskId;
use crate::task::{self, MAX_REQUEST_BYTES, TaskRequest};
use sha2::{Digest, Sha256};

/// One line that says something; blank ones are skipped.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "short-lived, one for each line of the file")]
pub enum Line {
    /// A task. Its `task_id` is set.
    Task(TaskRequest),
    /// A line that is none.
    Rejected(Rejection),
}

/// Why a line is no task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Counted from 1, blank lines included.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// The lines of a task file, in order. An I/O error ends it.
#[derive(Debug)]
pub struct TaskFile<R> {
    input: R,
    line: u64,
    buffer: Vec<u8>,
    /// On which line an id was first used.
    seen: HashMap<TaskId, u64>,
}

impl<R: BufRead> TaskFile<R> {
    /// Reads from the beginning of `input`; a byte order mark is skipped.
    pub fn new(input: R) -> Self {
        Self { input, line: 0, buffer: Vec::new(), seen: HashMap::new() }
    }

    /// Reads one line into the buffer, as much of it as a task may have; its true length comes back, or none at the
    /// end of the file.
    fn read(&mut self) -> io::Result<Option<usize>> {
        self.buffer.clear();
        let mut length = 0_usize;
        let mut begun = false;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                return Ok(begun.then_some(length));
            }
            begun = true;
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            let room = (MAX_REQUEST_BYTES + 1).saturating_sub(self.buffer.len());
            self.buffer.extend_from_slice(&part[..part.len().min(room)]);
            length += part.len();
            let used = part.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                return Ok(Some(length));
            }
        }
    }

    fn parse(&mut self, length: usize) -> Result<Option<TaskRequest>, String> {
        if length > MAX_REQUEST_BYTES {
            return Err(task::Error::TooLarge(length).to_string());
        }
        let mut bytes = &self.buffer[..];
        if self.line == 1 {
            bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        }
        let bytes = bytes.trim_ascii();
        if bytes.is_empty() {
            return Ok(None);
        }
        let mut request = TaskRequest::parse(bytes).map_err(reason)?;
        let id = request.task_id.get_or_insert_with(|| name(self.line, bytes)).clone();
        match self.seen.insert(id.clone(), self.line) {
            None => Ok(Some(request)),
            Some(first) => {
                self.seen.insert(id.clone(), first);
                Err(format!("task_id `{id}` was used on line {first} already; ids are unique within a file"))
            }
        }
    }
}

impl<R: BufRead> Iterator for TaskFile<R> {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let length = match self.read() {
                Ok(length) => length?,
                Err(error) => return Some(Err(error)),
            };
            self.line += 1;
            match self.parse(length) {
                Ok(None) => {}
                Ok(Some(request)) => return Some(Ok(Line::Task(request))),
                Err(reason) => return Some(Ok(Line::Rejected(Rejection { line: self.line, reason }))),
            }
        }
    }
}

/// The id of a line that names none.
fn name(line: u64, bytes: &[u8]) -> TaskId {
    let hash = Sha256::digest(bytes);
    let id = format!("line-{line}-{:02x}{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3]);
    id.parse().expect("short printable ASCII")
}

/// The parser counts lines within the one line that it sees; ours is the line that matters.
fn reason(error: task::Error) -> String {
    let text = error.to_string();
    match error {
        task::Error::Json(json) if json.column() > 0 => {
            let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
            format!("{what} (column {})", json.column())
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests;
