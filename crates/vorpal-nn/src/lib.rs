//! Modules, initialisers, optimisers, checkpoints and data for Vorpal.

pub mod data;
