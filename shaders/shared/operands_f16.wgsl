// Operands of halves and the result of a matrix product.

@group(0) @binding(0) var<storage, read> a: array<Eight>;
@group(0) @binding(1) var<storage, read> b: array<Eight>;
@group(0) @binding(2) var<storage, read_write> out0: array<f32>;

