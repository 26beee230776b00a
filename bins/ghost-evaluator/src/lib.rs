//! ghost-evaluator
