//! ghost-worker
