//! Devices, buffers, dtypes, shapes and layouts of Vorpal.
