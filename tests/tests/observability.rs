//! What docker/observability asks of the swarm's numbers is what the programs tell: a name that nobody tells gives an empty
//! chart and an alert that never comes. `promtool` judges the rules themselves (docker/observability/alerts.test.yml).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use ghost_core::broker::sqlite::{Options, SqliteBroker};
use ghost_service::health::Health;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// What the programs tell: those of the swarm as they are rendered, and those of a program itself as its code names them.
struct Told {
    page: String,
    names: BTreeSet<String>,
}

impl Told {
    async fn read() -> Self {
        let health = Health::new("ghost-test", CancellationToken::new());
        health.uses(Arc::new(SqliteBroker::in_memory(Options::default()).expect("memory")));
        let page = health.metrics().await;
        // A name without a value yet, as the mean of no ratings, has its line too.
        let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let mut names: BTreeSet<String> = types.map(str::to_owned).collect();
        let samples = page.lines().filter_map(|line| line.split(['{', ' ']).next());
        names.extend(samples.filter(|name| name.starts_with("ghost_")).map(str::to_owned));
        for program in ["bins/ghost-a2a-hub/src/lib.rs", "bins/ghost-worker/src/program.rs"] {
            let code = read(program);
            for (call, ending) in [("health.gauge(", ""), ("health.counter(", "_total")] {
                let told = code.split(call).skip(1).filter_map(|rest| rest.split('"').nth(1));
                names.extend(told.map(|name| format!("{name}{ending}")));
            }
        }
        for name in ["ghost_tasks_submitted_total", "ghost_a2a_connections", "ghost_slm_requests_total"] {
            assert!(names.contains(name), "{name} is told, but was not found among {names:?}");
        }
        Self { page, names }
    }

    /// Why this query, or text with queries in it, asks for what nobody tells.
    fn doubts(&self, text: &str) -> Vec<String> {
        let mut doubts = Vec::new();
        for (at, _) in text.match_indices("ghost_") {
            let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
            if text[..at].ends_with(is_of_name) {
                continue;
            }
            let (name, rest) =
                text[at..].split_at(text[at..].find(|c| !is_of_name(c)).unwrap_or(text.len() - at));
            if !self.names.contains(name) {
                doubts.push(format!("nobody tells {name}"));
            }
            let labels =
                rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(in_it, _)| in_it);
            for label in labels.split(", ").filter(|label| !label.is_empty()) {
                let told = |line: &str| line.starts_with(&format!("{name}{{")) && line.contains(label);
                // Which program, and where, is added by whoever collects.
                let added = ["job=", "instance=", "service="].iter().any(|own| label.starts_with(own));
                if !added && !self.page.lines().any(told) {
                    doubts.push(format!("nobody tells {name} with {label}"));
                }
            }
        }
        doubts
    }
}

#[tokio::test]
async fn the_dashboard_and_the_alerts_ask_only_for_numbers_that_are_told() {
    let told = Told::read().await;
    for file in ["prometheus.yml", "alerts.yml", "alerts.test.yml"] {
        let doubts = told.doubts(&read(&format!("docker/observability/{file}")));
        assert!(doubts.is_empty(), "{file}: {doubts:?}");
    }
    let mut asked = 0;
    for panel in panels() {
        for query in queries(&panel) {
            let doubts = told.doubts(&query);
            assert!(doubts.is_empty(), "{} in `{query}`: {doubts:?}", panel["title"]);
            asked += 1;
        }
    }
    assert!(asked >= 30, "only {asked} queries were found in the dashboard");

    // This test sees what is wrong.
    for wrong in
        ["max(ghost_tasks_submitted)", "ghost_agents{role=\"boss\"} > 0", "rate(ghost_gone_total[5m])"]
    {
        assert_eq!(told.doubts(wrong).len(), 1, "{wrong}");
    }
}

#[test]
fn the_panels_of_the_dashboard_have_numbers_of_their_own_and_a_place_of_their_own() {
    let mut ids = BTreeSet::new();
    let mut places: BTreeMap<(u64, u64), String> = BTreeMap::new();
    for panel in panels() {
        let title = panel["title"].as_str().expect("a title").to_owned();
        let id = panel["id"].as_u64().expect("a number");
        assert!(ids.insert(id), "{title} has the number of another panel: {id}");
        let is_row = panel["type"] == "row";
        assert_eq!(queries(&panel).is_empty(), is_row, "{title} asks for something unless it is a heading");
        let at = |what: &str| panel["gridPos"][what].as_u64().expect("a number");
        assert!(at("x") + at("w") <= 24, "{title} is wider than the page");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                if let Some(other) = places.insert((x, y), title.clone()) {
                    panic!("{title} lies on {other}");
                }
            }
        }
    }
}

#[test]
fn prometheus_looks_at_every_program_of_the_swarm_where_it_tells_its_numbers() {
    let prometheus = read("docker/observability/prometheus.yml");
    let compose = read("docker-compose.yml");
    let services = compose.split_once("\nservices:\n").expect("services").1;
    let mut looked_at = 0;
    let mut service = "";
    for line in services.lines() {
        if let Some(name) = line.strip_prefix("  ").and_then(|line| line.strip_suffix(':'))
            && !name.starts_with([' ', '#'])
        {
            service = name;
        }
        // What is built here is a program of ours.
        let Some((_, target)) = line.split_once("dockerfile: docker/Dockerfile, target: ") else { continue };
        let program = target.trim_end_matches([' ', '}']);
        let place = if program == "ghost-a2a-hub" { "lib.rs" } else { "program.rs" };
        let code = read(&format!("bins/{program}/src/{place}"));
        let port =
            code.split_once("health_port: ").and_then(|(_, rest)| rest.split_once(' ')).expect("a port").0;
        let entry = format!("names: [{service}], type: A, port: {port},");
        assert!(prometheus.contains(&entry), "prometheus.yml does not have `{entry}`");
        looked_at += 1;
    }
    assert!(looked_at >= 5, "only {looked_at} programs were found in docker-compose.yml");
}

fn panels() -> Vec<Value> {
    let dashboard: Value =
        serde_json::from_str(&read("docker/observability/grafana/dashboards/ghost-swarm.json"))
            .expect("JSON");
    dashboard["panels"].as_array().expect("panels").clone()
}

fn queries(panel: &Value) -> Vec<String> {
    let targets = panel["targets"].as_array().cloned().unwrap_or_default();
    targets.iter().map(|target| target["expr"].as_str().expect("a query").to_owned()).collect()
}

fn read(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
