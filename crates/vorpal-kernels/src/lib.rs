//! Kernels of Vorpal: WGSL, launch geometry and a native CPU body for each.
