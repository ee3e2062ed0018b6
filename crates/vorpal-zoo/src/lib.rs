//! Model zoo of Vorpal.
