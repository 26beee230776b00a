//! Makes a task of the command line.
//!
//! Every part goes through the task's own parser, so that a task from here is checked like any other.

use std::io::Read as _;

use anyhow::Context as _;
use ghost_core::id::TaskId;
use ghost_core::task::{MAX_REQUEST_BYTES, TaskRequest};
use serde_json::{Map, Value, json};

use crate::exit::misuse;

/// Somebody waits for a submitted task, so it goes before what a file of tasks put into the queue.
const PRIORITY: u8 = 8;

/// Answer one task
///
///   ghost submit "What is the capital of France?"
///   ghost submit --stream "Write a haiku about ghosts"
///   ghost submit --category spam --category ham --prompt @mail.txt "Sort this mail"
///   ghost submit --schema @person.schema.json --prompt - "Who is it?" < text.txt
///   ghost submit --json '{"task_type": "json_field", "description": "the id", "parameters": {"prompt": "…"}}'
///
/// The answer goes to stdout, everything else to stderr; --output json gives all that is known of it.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// What to do, in words
    #[arg(value_name = "TEXT", required_unless_present_any = ["prompt", "json"])]
    text: Option<String>,
    /// The material to do it with: the text itself, @FILE, or - for stdin
    #[arg(long, value_name = "PROMPT")]
    prompt: Option<String>,
    /// What sort of task it is, as in classify or json_field
    #[arg(long = "type", value_name = "TYPE")]
    task_type: Option<String>,
    /// The answer is exactly one of these; give it several times
    #[arg(long = "category", value_name = "CATEGORY")]
    categories: Vec<String>,
    /// A JSON Schema that the answer satisfies: the schema itself, @FILE, or - for stdin
    #[arg(long, value_name = "SCHEMA")]
    schema: Option<String>,
    /// 1 (can wait) to 10 (first) [default: 8]
    #[arg(long, value_name = "N")]
    priority: Option<i64>,
    /// Seconds after which the task has failed [default: 300]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<f64>,
    /// A name of your own; the same name and contents again are the same task
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The whole task as JSON: the text itself, @FILE, or - for stdin
    #[arg(
        long,
        value_name = "TASK",
        conflicts_with_all = [
            "text", "prompt", "task_type", "categories", "schema", "priority", "timeout", "id", "force_llm", "force_slm"
        ]
    )]
    json: Option<String>,
    /// Only the LLM may answer
    #[arg(long, conflicts_with = "force_slm")]
    force_llm: bool,
    /// Only the local model may answer
    #[arg(long)]
    force_slm: bool,
    /// Wait for the answer even where another process gives it
    #[arg(long)]
    pub wait: bool,
    /// Show the answer as it appears
    #[arg(long)]
    pub stream: bool,
}

/// The task, with an id.
pub(crate) fn read(args: &Args) -> anyhow::Result<TaskRequest> {
    let json = match &args.json {
        Some(json) => material(json)?,
        None => assemble(args)?.to_string(),
    };
    let mut request =
        TaskRequest::parse(json.as_bytes()).map_err(|error| misuse(format!("this is no task: {error}")))?;
    request.task_id.get_or_insert_with(TaskId::generate);
    Ok(request)
}

fn assemble(args: &Args) -> anyhow::Result<Value> {
    let mut parameters = Map::new();
    if let Some(prompt) = &args.prompt {
        parameters.insert("prompt".to_owned(), json!(material(prompt)?));
    }
    if !args.categories.is_empty() {
        parameters.insert("categories".to_owned(), json!(args.categories));
    }
    if let Some(schema) = &args.schema {
        let schema: Value = serde_json::from_str(&material(schema)?)
            .map_err(|error| misuse(format!("the schema is no JSON: {error}")))?;
        parameters.insert("schema".to_owned(), schema);
    }
    for (name, given) in [("force_llm", args.force_llm), ("force_slm", args.force_slm)] {
        if given {
            parameters.insert(name.to_owned(), json!(true));
        }
    }
    let default_type = if args.categories.is_empty() { "llm_inference" } else { "classify" };
    let mut task = json!({
        "task_type": args.task_type.as_deref().unwrap_or(default_type),
        "description": args.text.as_deref().unwrap_or_default(),
        "parameters": parameters,
        "priority": args.priority.unwrap_or(PRIORITY.into()),
    });
    if let Some(timeout) = args.timeout {
        task["timeout"] = json!(timeout);
    }
    if let Some(id) = &args.id {
        task["task_id"] = json!(id);
    }
    Ok(task)
}

/// The text itself, what is in `@FILE`, or what comes from stdin.
fn material(text: &str) -> anyhow::Result<String> {
    let limit = MAX_REQUEST_BYTES as u64 + 1;
    let mut read = String::new();
    match text.strip_prefix('@') {
        _ if text == "-" => {
            std::io::stdin().lock().take(limit).read_to_string(&mut read).context("stdin cannot be read")?;
        }
        Some(path) => {
            std::fs::File::open(path)
                .and_then(|file| file.take(limit).read_to_string(&mut read))
                .map_err(|error| misuse(format!("{path} cannot be read: {error}")))?;
        }
        None => read.push_str(text),
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn request(words: &[&str]) -> anyhow::Result<TaskRequest> {
        let line = Line::try_parse_from([&["submit"], words].concat())?;
        read(&line.args)
    }

    #[test]
    fn a_text_is_enough() {
        let request = request(&["What now?"]).expect("a task");
        assert_eq!(
            (request.description.as_str(), request.task_type.as_str()),
            ("What now?", "llm_inference")
        );
        assert_eq!(request.priority.get(), PRIORITY);
        assert!(request.task_id.is_some());
    }

    #[test]
    fn categories_make_it_a_classification() {
        let request = request(&["--category", "a", "--category", "b", "Sort"]).expect("a task");
        assert_eq!(request.task_type, "classify");
        assert_eq!(request.parameters.categories, Some(vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn a_prompt_may_come_from_a_file() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::io::Write::write_all(&mut file, "the mail".as_bytes()).expect("there is room");
        let at = format!("@{}", file.path().display());
        let request = request(&["--prompt", &at]).expect("a task");
        assert_eq!(request.parameters.prompt.as_deref(), Some("the mail"));
    }

    #[test]
    fn a_whole_task_is_checked_like_any_other() {
        let task =
            request(&["--json", r#"{"task_id":"a","task_type":"x","description":"y"}"#]).expect("a task");
        assert_eq!(task.task_id.expect("it was given").as_str(), "a");
        let error = request(&["--json", r#"{"task_type":"x"}"#]).expect_err("half a task");
        assert!(error.to_string().contains("missing field `description`"), "{error}");
        assert!(request(&["--priority", "11", "hello"]).is_err());
        assert!(request(&["--timeout", "NaN", "hello"]).is_err());
        assert!(request(&[]).is_err(), "nothing was asked");
    }
}
