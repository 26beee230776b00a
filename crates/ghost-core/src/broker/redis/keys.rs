//! Every key of a swarm in Redis, and what is in it. Nobody else spells one: scripts get these names as a prelude.
//!
//! All keys of a shard share the hash tag `{gs:<swarm>:<shard>}`, so that each script touches one slot of a Cluster; the
//! first shard is number 0. A *member* names a task within its swarm: `<batch>/<id>`, without a batch `/<id>`. Ids
//! are printable ASCII, so a line break ends any of them.

use sha2::{Digest, Sha256};

use crate::broker::Error;
use crate::id::{BatchId, TaskId, TaskKey};

const AGENTS: &str = "agents";
const AGENTS_UNTIL: &str = "agents-until";
const BATCHES: &str = "batches";
const COUNTERS: &str = "counters";
const DOCUMENTS: &str = "documents";
const LAYOUT: &str = "layout";
const NEWS: &str = "news";
const TALLY: &str = "tally";
const TALLY_OF: &str = "tally:";
const UNUSABLE: &str = "unusable";

/// What scripts call a key, its name, and what it holds. A name that ends in a colon is the beginning of many.
const NAMES: [(&str, &str); 22] = [
    // A hash: member → head (`form.rs`): version, lease token, place, and what was written last.
    ("HEADS", "heads"),
    // A hash: member → the JSON of what changes in a record, as Rust wrote it last.
    ("RECORDS", "records"),
    // A hash: member → the JSON of the request and what else never changes.
    ("REQUESTS", "requests"),
    // Sorted sets by the order of submits: every task, those of a batch, the failed ones (the dead letters).
    ("ALL", "all"),
    ("BATCH", "batch:"),
    ("FAILED", "failed"),
    // A sorted set, all scores 0: batches that have tasks.
    ("BATCHES", BATCHES),
    // Sorted sets of what waits for a holder: `queue:<stage>:<class>:<capability>:<tenant>` goes by not-before, then by
    // the order of submits, which is why a member has its number in front there.
    ("QUEUE", "queue:"),
    // A sorted set: queues by the time since which their first task has waited, or an earlier one.
    ("OLDEST", "oldest"),
    // A sorted set: what waits for a moment of its own, by the time that it was queued at.
    ("POSTPONED", "postponed"),
    // Sorted sets, all scores 0: `ring:<stage>:<class>:<capability>` holds the tenants with a queue.
    ("RING", "ring:"),
    // A hash: how many tasks each stage has handed out, and the tenant that had the latest turn in each class.
    ("TURNS", "turns"),
    // A sorted set: when a lease or a timeout ends.
    ("LEASES", "leases"),
    // Sorted sets by the order of settlements: all that is settled, and that of a batch.
    ("SETTLED", "settled"),
    ("SETTLED_OF", "settled:"),
    // Hashes: how many tasks stand where, of all and of a batch.
    ("TALLY", TALLY),
    ("TALLY_OF", TALLY_OF),
    // A hash: how many tasks were submitted, how many settlements there were, and how many tasks wait.
    ("TOTALS", "totals"),
    // A hash: what `stats` counts.
    ("COUNTERS", COUNTERS),
    // A hash: agent → its JSON; a sorted set: until when each is believed to be alive.
    ("AGENTS", AGENTS),
    ("AGENTS_UNTIL", AGENTS_UNTIL),
    // A hash: name of a document → its version, a line break, and its content.
    ("DOCUMENTS", DOCUMENTS),
];

/// The names of one shard.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    shard: String,
}

impl Keys {
    /// The keys of a swarm's shard.
    pub(super) fn of(swarm: &str, shard: usize) -> Result<Self, Error> {
        if swarm.is_empty() || swarm.len() > 64 || !swarm.bytes().all(is_plain) {
            return Err(Error::Misconfigured(format!(
                "a swarm's name has 1 to 64 letters, digits, dots, dashes or underscores, not {swarm:?}"
            )));
        }
        Ok(Self { shard: format!("{{gs:{swarm}:{shard}}}") })
    }

    /// What every script gets as its first key.
    pub(super) fn shard(&self) -> &str {
        &self.shard
    }

    /// The Lua that names all keys.
    pub(super) fn prelude() -> String {
        let key = |(name, key): &(&str, &str)| format!("local {name} = KEYS[1] .. ':{key}'\n");
        let channel = ("NEWS", NEWS);
        NAMES.iter().chain([&channel]).map(key).collect()
    }

    pub(super) fn counters(&self) -> String {
        self.key(COUNTERS)
    }

    pub(super) fn tally(&self, batch: Option<BatchId>) -> String {
        match batch {
            Some(batch) => format!("{}{batch}", self.key(TALLY_OF)),
            None => self.key(TALLY),
        }
    }

    pub(super) fn batches(&self) -> String {
        self.key(BATCHES)
    }

    pub(super) fn agents(&self) -> String {
        self.key(AGENTS)
    }

    pub(super) fn agents_until(&self) -> String {
        self.key(AGENTS_UNTIL)
    }

    pub(super) fn documents(&self) -> String {
        self.key(DOCUMENTS)
    }

    /// A string: the version of this layout and, where there are more than one, how many shards there are.
    pub(super) fn layout(&self) -> String {
        self.key(LAYOUT)
    }

    /// The pub/sub channel; one message has all news of a script.
    pub(super) fn news(&self) -> String {
        self.key(NEWS)
    }

    /// A stream: messages of others that could not be made tasks, and why.
    pub(super) fn unusable(&self) -> String {
        self.key(UNUSABLE)
    }

    /// The group as which the swarm reads the streams of others.
    pub(super) fn group(&self) -> &str {
        &self.shard
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.shard)
    }
}

/// In which of so many shards something of this name lies. It stays there, so nothing here may ever change.
pub(super) fn shard_of(name: &str, shards: usize) -> usize {
    if shards == 1 {
        return 0;
    }
    let digest = Sha256::digest(name.as_bytes());
    let (first, _) = digest.split_first_chunk::<8>().expect("a digest has 32 bytes");
    (u64::from_be_bytes(*first) % shards as u64) as usize
}

/// A task's name within its swarm.
pub(super) fn member(key: &TaskKey) -> String {
    match key.batch {
        Some(batch) => format!("{batch}/{}", key.id),
        None => format!("/{}", key.id),
    }
}

/// The task that a member names.
pub(super) fn task_key(member: &str) -> Option<TaskKey> {
    let (batch, id) = member.split_once('/')?;
    let batch = if batch.is_empty() { None } else { Some(batch.parse().ok()?) };
    Some(TaskKey { batch, id: id.parse::<TaskId>().ok()? })
}

/// A capability as a part of a key. Anybody may name one as they like, so what is not plain is replaced by its hash.
pub(super) fn capability(name: &str) -> String {
    const HASHED: &str = "sha256-";
    let plain = !name.is_empty() && name.len() <= 64 && name.bytes().all(is_plain);
    if plain && !name.starts_with(HASHED) {
        return name.to_owned();
    }
    let digest = Sha256::digest(name.as_bytes());
    HASHED.to_owned() + &digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_names_its_task_whatever_the_id_looks_like() {
        for batch in [None, Some(BatchId::generate())] {
            let key = TaskKey { batch, id: "a/b: {c}/".parse().expect("an id") };
            assert_eq!(task_key(&member(&key)), Some(key));
        }
        assert_eq!(task_key("not a batch/id"), None);
        assert_eq!(task_key("nothing"), None);
    }

    #[test]
    fn capabilities_that_differ_have_keys_that_differ_and_never_a_separator() {
        let names = ["inference", "a:b", "a", "", "sha256-", "two words", "naïve\n", &"x".repeat(65)];
        let keys: std::collections::HashSet<String> = names.iter().map(|name| capability(name)).collect();
        assert_eq!(keys.len(), names.len());
        assert!(keys.iter().all(|key| key.bytes().all(is_plain)));
        let forged = capability("two words");
        assert_ne!(capability(&forged), forged, "nobody can name another's hash");
    }

    #[test]
    fn a_name_lies_in_the_same_shard_for_ever_and_all_shards_get_their_part() {
        assert_eq!(["a", "b", "c", "task-1"].map(|name| shard_of(name, 3)), [1, 1, 2, 2]);
        let mut parts = [0; 3];
        (0..3000).for_each(|n| parts[shard_of(&format!("task-{n}"), 3)] += 1);
        assert!(parts.iter().all(|part| (900..1100).contains(part)), "{parts:?}");
        assert_eq!(shard_of("anything", 1), 0);
    }

    #[test]
    fn a_swarm_whose_name_would_break_its_keys_is_refused() {
        for name in ["", "a}b", "two words", &"x".repeat(65)] {
            assert!(matches!(Keys::of(name, 0), Err(Error::Misconfigured(_))), "{name:?}");
        }
        assert_eq!(Keys::of("prod-1", 3).expect("a name").counters(), "{gs:prod-1:3}:counters");
    }
}
