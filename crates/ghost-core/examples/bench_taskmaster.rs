//! Measures how long TaskMaster takes to classify one task: `cargo run --release -p ghost-core --example
//! bench_taskmaster`.
#![expect(clippy::print_stdout, reason = "a report is what this program is for")]

use std::hint::black_box;
use std::time::Instant;

use ghost_core::task::TaskRequest;
use ghost_core::taskmaster::{TaskMaster, Thresholds};

const ROUNDS: usize = 20_000;

fn main() {
    let everyday: Vec<String> = include_str!("../data/everyday.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a row")["prompt"].to_string())
        .collect();
    let text = everyday.join(" ");
    let taskmaster = TaskMaster::new(Thresholds::default());
    println!("bytes of prompt    p50 µs    p99 µs    per second and core");
    for bytes in [50, 200, 800, 2048, 1 << 20] {
        // Each round another part of the text, so that the caches see what they would see in service.
        let text = text.repeat(2 * bytes / text.len() + 2);
        let starts: Vec<usize> = (0..64).map(|i| i * 97).filter(|i| text.is_char_boundary(*i)).collect();
        let tasks: Vec<TaskRequest> = starts.iter().map(|start| task(&text[*start..], bytes)).collect();
        let mut times = Vec::with_capacity(ROUNDS);
        let begin = Instant::now();
        for round in 0..ROUNDS {
            let start = Instant::now();
            black_box(taskmaster.classify(black_box(&tasks[round % tasks.len()])));
            times.push(start.elapsed());
        }
        let rate = ROUNDS as f64 / begin.elapsed().as_secs_f64();
        times.sort();
        let micros = |share: f64| times[(ROUNDS as f64 * share) as usize].as_secs_f64() * 1e6;
        println!("{bytes:15}  {:8.1}  {:8.1}  {rate:21.0}", micros(0.5), micros(0.99));
    }
}

fn task(text: &str, bytes: usize) -> TaskRequest {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let task = serde_json::json!({"task_type": "any", "description": &text[..end]});
    serde_json::from_value(task).expect("a task")
}
