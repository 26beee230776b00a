//! From the text of a setting to its value; an error says what would be right, to follow "it must be".

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::broker::redis::MOST_SHARDS;
use crate::id::AgentId;

use super::{LogFormat, LogLevel, Secret, SlmProvider};

const LONGEST: Duration = Duration::from_secs(366 * 86_400);

pub(super) fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

pub(super) fn secret(text: &str) -> Result<Secret, String> {
    let printable = text.chars().all(|c| c.is_ascii_graphic());
    if printable { Ok(Secret(text.to_owned())) } else { Err("one word of printable ASCII".to_owned()) }
}

pub(super) fn url(text: &str) -> Result<String, String> {
    reqwest::Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .filter(|url| url.username().is_empty() && url.password().is_none())
        .map(|_| text.trim_end_matches('/').to_owned())
        .ok_or_else(|| "an address such as http://127.0.0.1:8080, without user name and password".to_owned())
}

/// A secret, since it may hold a password.
pub(super) fn redis_url(text: &str) -> Result<Secret, String> {
    let url = reqwest::Url::parse(text).ok().filter(|url| match url.scheme() {
        "redis" | "rediss" => url.has_host(),
        "unix" | "redis+unix" => true,
        _ => false,
    });
    match url {
        Some(_) => secret(text),
        None => Err("an address such as redis://127.0.0.1:6379/0".to_owned()),
    }
}

pub(super) fn host(text: &str) -> Result<String, String> {
    let named = text.split('.').all(|part| {
        !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
    });
    if text.parse::<std::net::IpAddr>().is_ok() || named {
        Ok(text.to_owned())
    } else {
        Err("an address or a name such as 127.0.0.1, ::1 or localhost, without a port".to_owned())
    }
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    whole(text, 0..=65_535)
}

pub(super) fn database(text: &str) -> Result<u32, String> {
    whole(text, 0..=1_000_000)
}

pub(super) fn name(text: &str) -> Result<String, String> {
    let sound = (1..=64).contains(&text.len())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'));
    if sound {
        Ok(text.to_owned())
    } else {
        Err("1 to 64 letters, digits, dots, dashes or underscores".to_owned())
    }
}

pub(super) fn agent_id(text: &str) -> Result<AgentId, String> {
    text.parse().map_err(|error: crate::id::Error| error.to_string())
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    Ok(PathBuf::from(text))
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "a number from 0 to 1".to_owned())
}

pub(super) fn threads(text: &str) -> Result<usize, String> {
    whole(text, 1..=1024)
}

pub(super) fn tokens(text: &str) -> Result<u32, String> {
    whole(text, 64..=10_000_000)
}

pub(super) fn sequences(text: &str) -> Result<usize, String> {
    whole(text, 1..=64)
}

pub(super) fn mebibytes(text: &str) -> Result<u64, String> {
    whole(text, 1..=1_000_000)
}

pub(super) fn mebibytes_or_none(text: &str) -> Result<u64, String> {
    whole(text, 0..=1_000_000)
}

pub(super) fn layers(text: &str) -> Result<u32, String> {
    whole(text, 0..=10_000)
}

pub(super) fn drafts(text: &str) -> Result<u32, String> {
    whole(text, 0..=8)
}

pub(super) fn shards(text: &str) -> Result<usize, String> {
    whole(text, 1..=MOST_SHARDS as u64)
}

pub(super) fn tasks(text: &str) -> Result<u64, String> {
    whole(text, 1..=1_000_000_000)
}

fn whole<T: TryFrom<u64>>(text: &str, range: RangeInclusive<u64>) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("a whole number from {} to {}", range.start(), range.end()))
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    let known = [("true", true), ("false", false), ("1", true), ("0", false)];
    let more = [("yes", true), ("no", false), ("on", true), ("off", false)];
    one_of(text, &[known, more].concat()).map_err(|_| "true or false".to_owned())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit.trim() {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        "d" => Some(86_400),
        _ => None,
    };
    number
        .parse::<u64>()
        .ok()
        .zip(seconds)
        .and_then(|(number, seconds)| number.checked_mul(seconds))
        .map(Duration::from_secs)
        .filter(|time| !time.is_zero() && *time <= LONGEST)
        .ok_or_else(|| "a time such as 30s, 5m, 24h or 7d, at most a year".to_owned())
}

pub(super) fn provider(text: &str) -> Result<SlmProvider, String> {
    one_of(text, &[("llama_cpp", SlmProvider::LlamaCpp), ("none", SlmProvider::None)])
        .map_err(|names| format!("{names}; for a server of any kind, set SLM_ENDPOINT"))
}

pub(super) fn level(text: &str) -> Result<LogLevel, String> {
    let seeds = [("warning", LogLevel::Warn), ("critical", LogLevel::Error)];
    one_of(text, &seeds).or_else(|_| one_of(text, &LogLevel::NAMES))
}

pub(super) fn format(text: &str) -> Result<LogFormat, String> {
    one_of(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
}

fn one_of<T: Copy>(text: &str, known: &[(&str, T)]) -> Result<T, String> {
    let found = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        match names.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
            None => String::new(),
        }
    })
}
