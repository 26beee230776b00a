//! ghost-llama
