// Halves for subgroups that multiply matrices.

enable f16;
enable wgpu_cooperative_matrix;

// Eight neighbours, read at once.
struct Eight {
    low: vec4<f16>,
    high: vec4<f16>,
}

