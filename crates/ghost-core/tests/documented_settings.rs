//! Keeps `.env.example` and `docs/configuration.md` equal to the table of settings, and `.env.example` to what
//! `docker-compose.yml` reads itself.
//!
//! After a change of the table, `BLESS=1 cargo test --release -p ghost-core --test documented_settings` writes both.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use ghost_core::config::{Default, SETTINGS, Setting};

/// What `docker-compose.yml` reads and no program does: variable, default, meaning.
const COMPOSE: &[(&str, &str, &str)] = &[
    (
        "REDIS_APPENDFSYNC",
        "always",
        "`always`: what was accepted survives a crash of Redis. `everysec` is faster and may lose the last second.",
    ),
    (
        "SLM_MODELS",
        "./models",
        "The folder that workers see as /models, for SLM_MODEL_PATH=/models/NAME.gguf.",
    ),
    (
        "PROMETHEUS_IMAGE",
        "prom/prometheus:v3.15.0",
        "The image of Prometheus and its version, in the profile `observability`.",
    ),
    (
        "PROMETHEUS_PORT",
        "9090",
        "The port of this machine at which Prometheus is reached, from this machine only.",
    ),
    (
        "GRAFANA_IMAGE",
        "grafana/grafana:13.2.3",
        "The image of Grafana and its version, in the profile `observability`.",
    ),
    (
        "GRAFANA_PORT",
        "3000",
        "The port of this machine at which the dashboard is reached, from this machine only.",
    ),
];

#[test]
fn the_example_of_an_env_file_lists_every_setting() {
    let mut text = "# Copy this file to .env and take the # away from what you change. docs/configuration.md says more.\n".to_owned();
    for setting in SETTINGS {
        if is_first_of_its_group(setting) {
            writeln!(text, "\n## {}", setting.about).expect("a string takes all");
        }
        let (note, value) = match setting.default {
            Default::Is(value) => (String::new(), value),
            Default::Unset(instead) => (format!(" Unset: {instead}."), ""),
        };
        let note = wrapped(&format!("{}{note}", setting.meaning));
        write!(text, "\n{note}#{}={value}\n", setting.variable).expect("a string takes all");
    }
    text += "\n## What docker-compose.yml reads itself.\n";
    for (variable, value, meaning) in COMPOSE {
        write!(text, "\n{}#{variable}={value}\n", wrapped(meaning)).expect("a string takes all");
    }
    must_be(".env.example", &text);
}

#[test]
fn the_example_lists_every_variable_that_compose_reads() {
    let compose = fs::read_to_string(path("docker-compose.yml")).expect("it is there");
    let is_setting = |name: &str| SETTINGS.iter().any(|setting| setting.variable == name);
    for (name, default) in
        compose.split("${").skip(1).filter_map(|rest| rest.split_once('}')?.0.split_once(":-"))
    {
        let listed = COMPOSE.iter().any(|(variable, value, _)| (*variable, *value) == (name, default));
        assert!(is_setting(name) || listed, "COMPOSE does not have {name} with the default {default}");
    }
    for (variable, ..) in COMPOSE {
        assert!(compose.contains(&format!("${{{variable}:-")), "docker-compose.yml does not read {variable}");
    }
    // Variables that are passed on as they are stand there alone.
    let passed_on = compose.lines().filter_map(|line| line.trim().strip_suffix(':'));
    for name in passed_on.filter(|name| name.starts_with(|first: char| first.is_ascii_uppercase())) {
        assert!(is_setting(name), "{name} is no setting of any program");
    }
}

#[test]
fn the_page_on_configuration_lists_every_setting() {
    const MARK: &str =
        "<!-- What follows is written from the table in crates/ghost-core/src/config.rs. -->\n";
    let page = fs::read_to_string(path("docs/configuration.md")).expect("the page is there");
    let (prose, _) = page.split_once(MARK).expect("the page has its mark");
    let mut text = format!("{prose}{MARK}");
    for setting in SETTINGS {
        if is_first_of_its_group(setting) {
            let Setting { group, about, .. } = setting;
            write!(
                text,
                "\n## `[{group}]`\n\n{about}\n\n| variable | in `ghost.toml` | default | meaning |\n|---|---|---|---|\n"
            )
            .expect("a string takes all");
        }
        let flag = setting.flag.map(|flag| format!(", `{flag}`")).unwrap_or_default();
        let key = setting.key().map_or_else(|| "–".to_owned(), |_| format!("`{}`", setting.field));
        let default = match setting.default {
            Default::Is(value) => format!("`{value}`"),
            Default::Unset(instead) => format!("unset: {instead}"),
        };
        writeln!(text, "| `{}`{flag} | {key} | {default} | {} |", setting.variable, setting.meaning)
            .expect("a string takes all");
    }
    must_be("docs/configuration.md", &text);
}

/// Comment lines of at most 100 characters.
fn wrapped(text: &str) -> String {
    let mut lines = vec!["#".to_owned()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < 100 => *line += &format!(" {word}"),
            _ => lines.push(format!("# {word}")),
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn is_first_of_its_group(setting: &Setting) -> bool {
    SETTINGS
        .iter()
        .find(|other| other.group == setting.group)
        .is_some_and(|first| first.variable == setting.variable)
}

fn must_be(file: &str, text: &str) {
    if std::env::var_os("BLESS").is_some() {
        fs::write(path(file), text).expect("the file can be written");
    }
    let found = fs::read_to_string(path(file)).unwrap_or_default();
    let differs = found.lines().zip(text.lines()).find(|(found, right)| found != right);
    assert!(
        found == text,
        "{file} differs from the table of settings (first: {differs:?}); \
         write it with BLESS=1 cargo test --release -p ghost-core --test documented_settings"
    );
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(file)
}
