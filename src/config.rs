//! The configuration.

pub mod settings;
