//! The derive macro for modules of Vorpal.
