//! Vorpal: a GPU-first deep-learning framework on wgpu compute shaders.
