//! ghost-orchestrator
