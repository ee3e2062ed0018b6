//! Every WGSL shader of Vorpal, as text, with the linker that joins and varies them.
