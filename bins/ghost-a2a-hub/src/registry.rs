//! What is known of an agent that joined over WebSocket, and what follows from it. Pure.
//!
//! It lies in the agent's record in the broker, under [`KEY`] of its metadata, so that every hub knows the same. An
//! agent that has nothing there is one of the swarm's own services.

use std::cmp::Ordering;
use std::time::Duration;

use ghost_a2a::error::{LEASE_LOST, RpcError, STALE_EPOCH};
use ghost_core::id::AgentId;
use ghost_core::lifecycle::Timestamp;
use ghost_core::messages::{AgentInfo, AgentStatus, Role};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Where in an agent's metadata it lies.
pub(crate) const KEY: &str = "a2a";
/// How long an agent counts as alive after its last word, where it does not say otherwise.
pub(crate) const LEASE: Duration = Duration::from_secs(15);
/// The shortest and the longest that it may ask for.
const LEASES: std::ops::RangeInclusive<u64> = 1_000..=300_000;
/// The most capabilities, tags or endpoints that one agent may have, and bytes in each.
const MAX_ENTRIES: usize = 64;
const MAX_ENTRY_BYTES: usize = 512;
/// The most bytes of a card.
const MAX_CARD_BYTES: usize = 64 << 10;

/// What an agent says of itself when it joins.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Register {
    /// Its name; one is made where it has none.
    pub(crate) agent_id: Option<AgentId>,
    /// Tells one run of the agent from the next: another instance of the same name takes over.
    instance_id: String,
    #[serde(default = "worker")]
    role: Role,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    /// Where other agents reach it, in the order of its preference.
    #[serde(default)]
    endpoints: Vec<String>,
    card: Option<Value>,
    #[serde(default = "one")]
    max_load: u32,
    lease_ms: Option<u64>,
}

fn worker() -> Role {
    Role::Worker
}

fn one() -> u32 {
    1
}

/// What the broker keeps of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Registration {
    pub(crate) instance_id: String,
    pub(crate) epoch: u64,
    /// The digest of the lease's id: whoever reads the record cannot speak for the agent.
    lease_digest: String,
    pub(crate) lease_ms: u64,
    /// The broker's time of its last word.
    renewed_at: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    endpoints: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    card: Option<Value>,
}

/// How an agent is, as far as its leases tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Health {
    /// It spoke lately.
    Up,
    /// It missed a renewal.
    Suspect,
    /// Its lease is over.
    Down,
}

/// Proves that its holder speaks for an agent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Proof {
    pub(crate) agent_id: AgentId,
    pub(crate) lease_id: String,
    pub(crate) epoch: u64,
}

impl Register {
    /// Checks what the types alone cannot say.
    pub(crate) fn check(&self) -> Result<(), RpcError> {
        let refuse = |words: String| Err(RpcError::invalid_params(words));
        if self.instance_id.is_empty() || self.instance_id.len() > 128 {
            return refuse(
                "instanceId has 1 to 128 bytes; a random one for each start of the agent".to_owned(),
            );
        }
        if self.role == Role::Evaluator {
            return refuse(
                "role: evaluators judge inside the swarm; answers would wait for one that joins here"
                    .to_owned(),
            );
        }
        for (name, list) in
            [("capabilities", &self.capabilities), ("tags", &self.tags), ("endpoints", &self.endpoints)]
        {
            let sound = |entry: &String| !entry.is_empty() && entry.len() <= MAX_ENTRY_BYTES;
            if list.len() > MAX_ENTRIES || !list.iter().all(sound) {
                return refuse(format!(
                    "{name} has at most {MAX_ENTRIES} entries of 1 to {MAX_ENTRY_BYTES} bytes"
                ));
            }
        }
        if let Some(card) = &self.card
            && (!card.is_object() || card.to_string().len() > MAX_CARD_BYTES)
        {
            return refuse(format!("card is an object of at most {MAX_CARD_BYTES} bytes"));
        }
        if !(1..=10_000).contains(&self.max_load) {
            return refuse("maxLoad is 1 to 10000".to_owned());
        }
        if self.lease_ms.is_some_and(|lease| !LEASES.contains(&lease)) {
            return refuse(format!("leaseMs is {} to {}", LEASES.start(), LEASES.end()));
        }
        Ok(())
    }

    /// The record of an agent that joins under this name, and the proof that it gets. `present` is what the broker
    /// holds under that name.
    ///
    /// # Errors
    /// Where the name belongs to a service of the swarm.
    pub(crate) fn join(
        self,
        agent_id: AgentId,
        present: Option<&AgentInfo>,
        now: Timestamp,
    ) -> Result<(AgentInfo, Proof), RpcError> {
        let epoch = match present {
            None => now.0,
            Some(present) => match Registration::of(present) {
                None => {
                    let words =
                        format!("{agent_id} is a service of the swarm itself; choose another agentId");
                    return Err(RpcError::new(ghost_a2a::error::FORBIDDEN, words));
                }
                // The same run of the agent, which lost its connection.
                Some(registration) if registration.instance_id == self.instance_id => registration.epoch,
                Some(registration) => now.0.max(registration.epoch + 1),
            },
        };
        let proof = Proof { agent_id: agent_id.clone(), lease_id: Uuid::new_v4().to_string(), epoch };
        let registration = Registration {
            instance_id: self.instance_id,
            epoch,
            lease_digest: digest(&proof.lease_id),
            lease_ms: self.lease_ms.unwrap_or(u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX)),
            renewed_at: now.0,
            tags: self.tags,
            endpoints: self.endpoints,
            card: self.card,
        };
        let mut info = AgentInfo {
            agent_id,
            role: self.role,
            status: AgentStatus::Idle,
            capabilities: self.capabilities,
            current_load: 0,
            max_load: self.max_load,
            metadata: Default::default(),
        };
        registration.put(&mut info);
        Ok((info, proof))
    }
}

impl Registration {
    /// What an agent's record says; none where it is a service of the swarm.
    pub(crate) fn of(info: &AgentInfo) -> Option<Self> {
        info.metadata.get(KEY).and_then(|value| Self::deserialize(value).ok())
    }

    fn put(&self, info: &mut AgentInfo) {
        info.metadata.insert(KEY.to_owned(), json!(self));
    }

    /// How long it counts as alive after its last word.
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }
}

impl Proof {
    /// Whether the record that the broker holds is the one that this speaks for.
    ///
    /// # Errors
    /// [`STALE_EPOCH`] where a newer instance took over; [`LEASE_LOST`] where the record is gone, belongs to a later
    /// registration of the same instance, or is an older one that a slower hub wrote.
    pub(crate) fn holds(&self, present: Option<&AgentInfo>) -> Result<(), RpcError> {
        let Some(registration) = present.and_then(Registration::of) else {
            return Err(ended(&self.agent_id));
        };
        let same = registration.lease_digest == digest(&self.lease_id);
        match registration.epoch.cmp(&self.epoch) {
            Ordering::Equal if same => Ok(()),
            Ordering::Less | Ordering::Equal => Err(ended(&self.agent_id)),
            Ordering::Greater => Err(RpcError::new(
                STALE_EPOCH,
                format!(
                    "a newer instance of {} has taken over (epoch {}, yours is {}); this one must end",
                    self.agent_id, registration.epoch, self.epoch
                ),
            )),
        }
    }
}

/// That an agent has to join anew.
pub(crate) fn ended(agent_id: &AgentId) -> RpcError {
    RpcError::new(LEASE_LOST, format!("the registration of {agent_id} has ended; register again"))
}

/// The record of an agent that has just said something.
pub(crate) fn renewed(info: &AgentInfo, now: Timestamp) -> AgentInfo {
    let mut info = info.clone();
    if let Some(registration) = Registration::of(&info) {
        Registration { renewed_at: now.0, ..registration }.put(&mut info);
    }
    info
}

/// How an agent is. A service of the swarm is up for as long as the broker lists it.
pub(crate) fn health(info: &AgentInfo, now: Timestamp) -> Health {
    let Some(registration) = Registration::of(info) else { return Health::Up };
    let silent = now.0.saturating_sub(registration.renewed_at);
    if silent >= registration.lease_ms {
        Health::Down
    } else if silent.saturating_mul(3) >= registration.lease_ms.saturating_mul(2) {
        // It speaks three times in a lease, so it missed one.
        Health::Suspect
    } else {
        Health::Up
    }
}

/// An agent as others see it. What changes with every renewal is not part of it.
pub(crate) fn view(info: &AgentInfo, now: Timestamp) -> Value {
    let mut view = json!({
        "agentId": info.agent_id,
        "role": info.role,
        "status": info.status,
        "health": health(info, now),
        "capabilities": info.capabilities,
        "currentLoad": info.current_load,
        "maxLoad": info.max_load,
    });
    if let (Some(registration), Some(view)) = (Registration::of(info), view.as_object_mut()) {
        view.insert("instanceId".to_owned(), json!(registration.instance_id));
        view.insert("epoch".to_owned(), json!(registration.epoch));
        view.insert("tags".to_owned(), json!(registration.tags));
        view.insert("endpoints".to_owned(), json!(registration.endpoints));
        if let Some(card) = registration.card {
            view.insert("card".to_owned(), card);
        }
    }
    view
}

/// Which agents are looked for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Discover {
    /// All of these capabilities.
    #[serde(default)]
    skills: Vec<String>,
    /// All of these tags.
    #[serde(default)]
    tags: Vec<String>,
    /// In this health; `up` and `suspect` where absent.
    health: Option<Health>,
    pub(crate) limit: Option<usize>,
    /// Where the last page ended.
    pub(crate) page_token: Option<String>,
}

impl Discover {
    /// Whether an agent is among them.
    pub(crate) fn matches(&self, info: &AgentInfo, now: Timestamp) -> bool {
        let health = health(info, now);
        let tags = Registration::of(info).map(|registration| registration.tags).unwrap_or_default();
        self.health.map_or(health != Health::Down, |wanted| wanted == health)
            && self.skills.iter().all(|skill| info.capabilities.contains(skill))
            && self.tags.iter().all(|tag| tags.contains(tag))
    }
}

fn digest(lease_id: &str) -> String {
    Sha256::digest(lease_id.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(json: Value) -> Register {
        serde_json::from_value(json).expect("a registration")
    }

    fn joined(instance: &str, present: Option<&AgentInfo>, now: u64) -> (AgentInfo, Proof) {
        let id: AgentId = "ann".parse().expect("an id");
        let joins = register(json!({"instanceId": instance, "capabilities": ["shout"], "tags": ["loud"]}));
        joins.join(id, present, Timestamp(now)).expect("the name is free")
    }

    #[test]
    fn a_new_instance_takes_over_and_the_old_one_is_stale() {
        let (old, old_proof) = joined("one", None, 1000);
        assert_eq!(old_proof.holds(Some(&old)), Ok(()));
        let (new, new_proof) = joined("two", Some(&old), 1000);
        assert_eq!(new_proof.epoch, 1001, "it is newer even within the same millisecond");
        assert_eq!(new_proof.holds(Some(&new)), Ok(()));
        assert_eq!(old_proof.holds(Some(&new)).expect_err("it was replaced").code, STALE_EPOCH);
        // A slower hub wrote the older record over it: the newer one joins again, and wins again.
        assert_eq!(new_proof.holds(Some(&old)).expect_err("it is not there").code, LEASE_LOST);
        assert_eq!(new_proof.holds(None).expect_err("it is not there").code, LEASE_LOST);
    }

    #[test]
    fn the_same_instance_keeps_its_epoch_and_gets_a_new_lease() {
        let (first, old_proof) = joined("one", None, 1000);
        let (again, proof) = joined("one", Some(&first), 5000);
        assert_eq!((proof.epoch, proof.holds(Some(&again))), (1000, Ok(())));
        assert_eq!(old_proof.holds(Some(&again)).expect_err("another lease").code, LEASE_LOST);
    }

    #[test]
    fn the_name_of_a_service_is_taken() {
        let (mut service, _) = joined("one", None, 1000);
        service.metadata.clear();
        let joins = register(json!({"instanceId": "two"}));
        let refused = joins.join("ann".parse().expect("an id"), Some(&service), Timestamp(1));
        assert_eq!(refused.expect_err("it is taken").code, ghost_a2a::error::FORBIDDEN);
    }

    #[test]
    fn silence_makes_an_agent_suspect_and_then_down() {
        let (info, _) = joined("one", None, 1000);
        let after = |silent: u64| health(&info, Timestamp(1000 + silent));
        assert_eq!([after(0), after(9_999)], [Health::Up; 2]);
        assert_eq!([after(10_000), after(14_999)], [Health::Suspect; 2]);
        assert_eq!(after(15_000), Health::Down);
        assert_eq!(health(&renewed(&info, Timestamp(14_000)), Timestamp(16_000)), Health::Up);
    }

    #[test]
    fn nothing_that_others_see_lets_them_speak_for_an_agent() {
        let (info, proof) = joined("one", None, 1000);
        let record = serde_json::to_string(&info).expect("JSON");
        assert!(!record.contains(&proof.lease_id));
        assert!(!view(&info, Timestamp(1000)).to_string().contains("lease"));
    }

    #[test]
    fn agents_are_found_by_all_that_is_asked_of_them() {
        let (info, _) = joined("one", None, 1000);
        let found = |json: Value, at: u64| {
            serde_json::from_value::<Discover>(json).expect("a query").matches(&info, Timestamp(at))
        };
        assert!(found(json!({}), 1000));
        assert!(found(json!({"skills": ["shout"], "tags": ["loud"]}), 1000));
        assert!(!found(json!({"skills": ["shout", "whisper"]}), 1000));
        assert!(!found(json!({"tags": ["quiet"]}), 1000));
        assert!(found(json!({}), 12_000) && !found(json!({"health": "up"}), 12_000));
        assert!(found(json!({"health": "suspect"}), 12_000));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for json in [
            json!({"instanceId": ""}),
            json!({"instanceId": "i", "role": "evaluator"}),
            json!({"instanceId": "i", "capabilities": [""]}),
            json!({"instanceId": "i", "capabilities": vec!["x"; 65]}),
            json!({"instanceId": "i", "card": 5}),
            json!({"instanceId": "i", "card": {"x": "x".repeat(MAX_CARD_BYTES)}}),
            json!({"instanceId": "i", "maxLoad": 0}),
            json!({"instanceId": "i", "leaseMs": 10}),
        ] {
            assert!(register(json.clone()).check().is_err(), "{json}");
        }
        assert!(serde_json::from_value::<Register>(json!({"instanceId": "i", "capability": ["x"]})).is_err());
    }
}
