//! How ghosts talk: JSON-RPC 2.0 over WebSocket, subprotocol `ghost-a2a.v1`.
//!
//! [`frame`] is one message on the wire, pure; [`session`] one connection, the same for both sides; [`upgrade`] opens
//! the door to it and [`client`] knocks, again and again. What methods there are is up to a [`session::Handler`]: the
//! hub's are in `ghost-a2a-hub`, all of it for people in `docs/protocol.md`.

pub mod client;
pub mod error;
pub mod frame;
pub mod session;
pub mod upgrade;

/// The name of this protocol in a WebSocket's handshake.
pub const SUBPROTOCOL: &str = "ghost-a2a.v1";
