//! Runnable examples of Vorpal.
