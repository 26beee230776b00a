//! What the tests of the whole share: a swarm in one process over a store in memory, with models that follow a script and
//! a clock that a test can hold; servers that play a provider or a hub over real sockets; environments for Python; and
//! the evaluation of the tiny SLM and the replay of outcomes through TaskMaster's loop.

pub mod claude_server;
pub mod faults;
pub mod gated_claude;
pub mod gguf;
pub mod hub_server;
pub mod learning_loop;
pub mod line;
pub mod openai_server;
pub mod programs;
pub mod python;
pub mod scripted_server;
pub mod slm_evaluation;
pub mod swarm;

pub use line::Line;
pub use swarm::TestSwarm;
