//! ghost-service
