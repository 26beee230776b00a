//! What the tests of the whole share: servers that play a provider by script, over real sockets.

pub mod claude_server;
pub mod faults;
pub mod openai_server;
pub mod scripted_server;
