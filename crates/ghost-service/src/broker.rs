//! Opens the broker that the settings name: Redis where REDIS_URL or REDIS_HOST is set, else SQLite in the data
//! directory. Every program comes here, so that all of one swarm meet at the same store.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ghost_core::broker::redis::{self, RedisBroker};
use ghost_core::broker::sqlite::{Options, SqliteBroker};
use ghost_core::broker::{Broker, Error};
use ghost_core::config::Config;
use ghost_core::retry::{Backoff, Retry};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::data_dir::DataDir;

/// The waits between tries to reach a Redis that is not there yet.
const BACKOFF: Backoff = Backoff::growing(Duration::from_millis(100), Duration::from_secs(5));

/// Opens the broker, and waits for a Redis that is not there yet: programs of a swarm start in any order.
///
/// # Errors
/// Where waiting would not help: the settings, the data directory, or what the store holds.
pub async fn open(config: &Config) -> anyhow::Result<Arc<dyn Broker>> {
    if !config.broker.on_redis() {
        return sqlite(config, &DataDir::open(config.broker.data.as_deref())?);
    }
    let redis = redis_config(config);
    let mut failures = 0;
    loop {
        match RedisBroker::connect(redis.clone()).await {
            Ok(broker) => {
                if failures > 0 {
                    info!("the broker is there");
                }
                return Ok(Arc::new(broker));
            }
            Err(error) if error.retry() == Retry::Never => return Err(error.into()),
            Err(error) => {
                failures += 1;
                let wait = BACKOFF.wait(failures, &mut fastrand::Rng::new());
                warn!(error = %error, "waiting for the broker: {error}");
                sleep(wait).await;
            }
        }
    }
}

/// Opens the store in the data directory.
///
/// # Errors
/// Where it cannot be opened.
pub fn sqlite(config: &Config, data: &DataDir) -> anyhow::Result<Arc<dyn Broker>> {
    let path = data.database();
    let broker = SqliteBroker::open(&path, sqlite_options(config))
        .with_context(|| format!("the store {} cannot be opened", path.display()))?;
    Ok(Arc::new(broker))
}

/// A store in memory, gone with the process.
///
/// # Errors
/// [`Error`] where there is no memory for it.
pub fn in_memory(config: &Config) -> Result<Arc<dyn Broker>, Error> {
    Ok(Arc::new(SqliteBroker::in_memory(sqlite_options(config))?))
}

fn sqlite_options(config: &Config) -> Options {
    Options { backlog: config.broker.max_backlog, ..Options::default() }
}

/// What REDIS_URL says, or the parts from which the seed made it.
pub fn redis_config(config: &Config) -> redis::Config {
    let broker = &config.broker;
    let default = redis::Config::default();
    let url = match (&broker.redis_url, &broker.redis_host) {
        (Some(url), _) => url.reveal().to_owned(),
        (None, Some(host)) if host.contains(':') => {
            format!("redis://[{host}]:{}/{}", broker.redis_port, broker.redis_db)
        }
        (None, Some(host)) => format!("redis://{host}:{}/{}", broker.redis_port, broker.redis_db),
        (None, None) => default.url.clone(),
    };
    redis::Config {
        url,
        password: broker.redis_password.as_ref().map(|password| password.reveal().to_owned()),
        ca: broker.redis_ca.clone(),
        swarm: broker.swarm.clone(),
        shards: broker.redis_shards,
        backlog: broker.max_backlog,
        result_ttl: broker.result_ttl.unwrap_or(default.result_ttl),
        ..default
    }
}

#[cfg(test)]
mod tests {
    use ghost_core::config::Sources;

    use super::*;

    fn redis(settings: &[(&str, &str)]) -> redis::Config {
        let flags = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        redis_config(&Config::load(Sources { flags, ..Sources::default() }).expect("they make sense"))
    }

    #[test]
    fn an_url_goes_before_its_parts() {
        let parts =
            [("REDIS_HOST", "redis"), ("REDIS_PORT", "7000"), ("REDIS_DB", "2"), ("REDIS_PASSWORD", "s")];
        let config = redis(&parts);
        assert_eq!((config.url.as_str(), config.password.as_deref()), ("redis://redis:7000/2", Some("s")));
        assert_eq!(redis(&[("REDIS_HOST", "::1")]).url, "redis://[::1]:6379/0");
        let both = [parts.as_slice(), &[("REDIS_URL", "redis://elsewhere")]].concat();
        assert_eq!(redis(&both).url, "redis://elsewhere");
    }

    #[test]
    fn results_are_kept_for_as_long_as_is_said() {
        let day = Duration::from_secs(86_400);
        assert_eq!(redis(&[("REDIS_HOST", "redis")]).result_ttl, day);
        assert_eq!(redis(&[("REDIS_HOST", "redis"), ("RESULT_TTL", "7d")]).result_ttl, 7 * day);
    }
}
