//! ghost-tests
