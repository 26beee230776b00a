use std::fs;

use super::*;

fn sources(flags: &[(&str, &str)], environment: &[(&str, &str)]) -> Sources {
    Sources {
        flags: flags.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        environment: environment.iter().map(|(n, v)| (n.into(), v.into())).collect(),
        ..Sources::default()
    }
}

fn load(environment: &[(&str, &str)]) -> Config {
    Config::load(sources(&[], environment)).expect("these settings are right")
}

fn mistakes(sources: Sources) -> String {
    Config::load(sources).expect_err("these settings are wrong").to_string()
}

#[test]
fn every_default_is_a_right_value_and_no_variable_is_declared_twice() {
    let config = load(&[]);
    assert_eq!(config.routing.simple_threshold, 0.3);
    assert_eq!(config.broker.max_wait, Duration::from_secs(86_400));
    assert_eq!(config.llm.choice(), None);
    assert_eq!(config.slm.choice(), SlmChoice::Embedded);
    assert_eq!(config.warnings, Vec::<String>::new());
    let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.variable).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), SETTINGS.len());
}

#[test]
fn flags_beat_the_environment_which_beats_dotenv_which_beats_the_file_which_beats_defaults() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (dotenv, file) = (folder.path().join(".env"), folder.path().join("ghost.toml"));
    let layers = |flags: &[(&str, &str)], environment: &[(&str, &str)]| {
        let files =
            Sources { dotenv: Some(dotenv.clone()), file: Some(file.clone()), ..sources(flags, environment) };
        Config::load(files).expect("right").llm.model
    };
    assert_eq!(layers(&[], &[]), None);
    fs::write(&file, "[llm]\nmodel = 'from-file'\n").expect("written");
    assert_eq!(layers(&[], &[]).as_deref(), Some("from-file"));
    fs::write(&dotenv, "export LLM_MODEL=from-dotenv\n").expect("written");
    assert_eq!(layers(&[], &[]).as_deref(), Some("from-dotenv"));
    assert_eq!(layers(&[], &[("LLM_MODEL", "from-environment")]).as_deref(), Some("from-environment"));
    let flags = [("LLM_MODEL", "first"), ("LLM_MODEL", "last")];
    assert_eq!(layers(&flags, &[("LLM_MODEL", "x")]).as_deref(), Some("last"));
    assert_eq!(layers(&[], &[("LLM_MODEL", " ")]), None, "an empty value means the default");
}

#[test]
fn every_mistake_is_named_at_once_with_its_source_and_what_would_be_right() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (dotenv, file) = (folder.path().join(".env"), folder.path().join("ghost.toml"));
    fs::write(&dotenv, "# ours\n\nMAX_WAIT=soon\n").expect("written");
    fs::write(&file, "[slm]\ngpu_layers = -1\n\n[llm]\nmodl = 'x'\nversion = [1]\n").expect("written");
    let environment = [("SIMPLE_THRESHOLD", "high"), ("LOG_FORMAT", "xml")];
    let text = mistakes(Sources {
        dotenv: Some(dotenv.clone()),
        file: Some(file.clone()),
        ..sources(&[("MAX_BAKLOG", "3")], &environment)
    });
    let (dotenv, file) = (dotenv.display(), file.display());
    for line in [
        "MAX_BAKLOG (command line) is no setting; did you mean MAX_BACKLOG?".to_owned(),
        format!("llm.modl ({file}, line 5) is no setting; did you mean llm.model?"),
        format!("llm.version ({file}, line 6) is no setting"),
        format!("SLM_GPU_LAYERS is \"-1\" ({file}, line 2), but must be a whole number from 0 to 10000"),
        "SIMPLE_THRESHOLD is \"high\" (environment), but must be a number from 0 to 1".to_owned(),
        "LOG_FORMAT is \"xml\" (environment), but must be text or json".to_owned(),
        format!(
            "MAX_WAIT is \"soon\" ({dotenv}, line 3), but must be a time such as 30s, 5m, 24h or 7d, at most a year"
        ),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis missing in\n{text}");
    }
    assert_eq!(text.lines().count(), 7, "{text}");
}

#[test]
fn a_secret_is_never_shown() {
    let key = "sk-ant-hidden";
    let config = load(&[("ANTHROPIC_API_KEY", key)]);
    assert_eq!(config.llm.anthropic_api_key.as_ref().map(Secret::reveal), Some(key));
    let row = config.describe().iter().find(|row| row.setting.variable == "ANTHROPIC_API_KEY");
    assert_eq!(row.map(Row::shown).as_deref(), Some("set"));
    let debug = format!("{:?}", config.llm);
    assert!(!debug.contains(key), "{debug}");
    let text = mistakes(sources(&[], &[("ANTHROPIC_API_KEY", "sk-ant-hidden twice")]));
    assert_eq!(
        text,
        "ANTHROPIC_API_KEY is something else (environment), but must be one word of printable ASCII"
    );
}

#[test]
fn a_broken_file_is_named_with_its_line_and_without_its_text() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (dotenv, file) = (folder.path().join(".env"), folder.path().join("ghost.toml"));
    fs::write(&dotenv, "LLM_MODEL=a\nANTHROPIC_API_KEY='sk-ant-hidden\n").expect("written");
    fs::write(&file, "[llm]\nanthropic_api_key = sk-ant-hidden\n").expect("written");
    let text = mistakes(Sources { dotenv: Some(dotenv), file: Some(file), ..Sources::default() });
    assert!(text.contains(".env: line 2 is not NAME=value"), "{text}");
    assert!(text.contains("ghost.toml: line 2: "), "{text}");
    assert!(!text.contains("sk-ant-hidden"), "{text}");
}

#[test]
fn the_file_that_ghost_config_names_must_be_there() {
    let text = mistakes(sources(&[("GHOST_CONFIG", "/nowhere/ghost.toml")], &[]));
    assert!(text.starts_with("/nowhere/ghost.toml: cannot be read"), "{text}");
    let absent = Sources { file: Some("/nowhere/ghost.toml".into()), ..Sources::default() };
    assert!(Config::load(absent).is_ok());
}

#[test]
fn a_variable_that_begins_like_ours_but_is_not_is_a_warning() {
    let config = load(&[("GHOST_DATTA", "/tmp"), ("HOME", "/root")]);
    assert_eq!(config.warnings, ["GHOST_DATTA (environment) is no setting; did you mean GHOST_DATA?"]);
}

#[test]
fn a_claude_key_chooses_claude_and_only_without_one_openais_api_is_asked() {
    let openai = [("OPENAI_API_BASE", "http://127.0.0.1:8000/v1/"), ("LLM_MODEL", "big")];
    let base_url = "http://127.0.0.1:8000/v1";
    assert_eq!(
        load(&openai).llm.choice(),
        Some(LlmChoice::OpenAiCompatible { api_key: None, base_url, model: "big" })
    );
    let both = load(&[openai[0], openai[1], ("ANTHROPIC_API_KEY", "k")]);
    assert!(matches!(both.llm.choice(), Some(LlmChoice::Claude { model: "big", .. })));
    let claude = load(&[("ANTHROPIC_API_KEY", "k")]);
    assert!(matches!(claude.llm.choice(), Some(LlmChoice::Claude { model: DEFAULT_LLM_MODEL, .. })));
}

#[test]
fn a_key_for_openai_sends_nothing_there_until_a_model_is_named() {
    let config = load(&[("OPENAI_API_KEY", "k")]);
    assert_eq!(config.llm.choice(), None);
    assert!(config.warnings[0].contains("set it to a model"), "{:?}", config.warnings);
}

#[test]
fn an_endpoint_goes_before_a_file_and_none_before_both() {
    let all = [("SLM_ENDPOINT", "http://localhost:8080"), ("SLM_MODEL", "phi"), ("SLM_MODEL_PATH", "m.gguf")];
    let url = "http://localhost:8080";
    assert_eq!(load(&all).slm.choice(), SlmChoice::Endpoint { url, model: "phi" });
    assert_eq!(load(&all[2..]).slm.choice(), SlmChoice::File(Path::new("m.gguf")));
    assert_eq!(load(&[all[0], all[1], ("SLM_PROVIDER", "none")]).slm.choice(), SlmChoice::None);
}

#[test]
fn the_address_of_redis_is_never_shown() {
    let config = load(&[("REDIS_URL", "redis://:hush@host:6379/0")]);
    assert!(config.broker.on_redis() && !format!("{config:?}").contains("hush"));
    for url in ["http://:hush@host", "redis://:hush@", "host:6379"] {
        let text = mistakes(sources(&[], &[("REDIS_URL", url)]));
        assert!(text.contains("such as redis://127.0.0.1:6379/0") && !text.contains("hush"), "{text}");
    }
}

#[test]
fn parts_of_an_address_without_a_host_are_doubted() {
    let config = load(&[("REDIS_PORT", "7000")]);
    assert!(!config.broker.on_redis());
    assert!(config.warnings[0].starts_with("REDIS_PORT is set, but neither"), "{:?}", config.warnings);
    assert!(load(&[("REDIS_PORT", "7000"), ("REDIS_HOST", "redis")]).warnings.is_empty());
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    let text = mistakes(sources(&[], &[("SIMPLE_THRESHOLD", "0.8")]));
    assert!(text.starts_with("SIMPLE_THRESHOLD (0.8) is above COMPLEX_THRESHOLD (0.7)"), "{text}");
    let text = mistakes(sources(&[], &[("SLM_ENDPOINT", "http://localhost:8080")]));
    assert!(text.starts_with("SLM_ENDPOINT needs SLM_MODEL"), "{text}");
}

#[test]
fn values_are_read_as_people_write_them() {
    let config = load(&[
        ("ENABLE_SLM_FALLBACK", "False"),
        ("MAX_WAIT", "90"),
        ("LEASE_SECONDS", "2m"),
        ("LOG_LEVEL", "WARNING"),
        ("SLM_MODEL_PATH", " models/a b.gguf "),
    ]);
    assert!(!config.routing.fallback);
    assert_eq!(config.broker.max_wait, Duration::from_secs(90));
    assert_eq!(config.broker.lease, Duration::from_secs(120));
    assert_eq!(config.service.log_level, LogLevel::Warn);
    assert_eq!(config.slm.model_path.as_deref(), Some(Path::new("models/a b.gguf")));
    for (variable, value) in [
        ("COMPLEX_THRESHOLD", "NaN"),
        ("LEASE_SECONDS", "0"),
        ("LEASE_SECONDS", "99999999999999999999d"),
        ("MAX_THREAD_WORKERS", "0"),
        ("ANTHROPIC_BASE_URL", "api.anthropic.com"),
        ("ANTHROPIC_BASE_URL", "https://user:word@host"),
    ] {
        assert!(mistakes(sources(&[], &[(variable, value)])).contains(variable), "{variable}={value}");
    }
}
