//! openai_compatible
