//! What the journey tests share: a whole swarm in one process, over a store in memory, with models that follow a
//! script and a clock that a test can hold.

pub mod line;
pub mod swarm;

pub use line::Line;
pub use swarm::TestSwarm;
