// What derivatives of attention are made of beyond its operands: `side` starts with the logarithms of the sums of the
// scores, and with the cotangent of each less the product of the row of results with its cotangent.

@group(0) @binding(3) var<storage, read> cotangent: array<f32>;
@group(0) @binding(4) var<storage, read> side: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

override O_OFFSET: u32 = 0u;
override O_B: u32 = 0u;
override O_H: u32 = 0u;
override O_R: u32 = 1u;
override O_C: u32 = 1u;

fn o_head(spot: Spot) -> u32 {
    return O_OFFSET + spot.batch * O_B + spot.head * O_H;
}

fn o_four(row: u32, quad: u32) -> vec4<f32> {
    let p = places(row, quad, O_C, VALUE_COLUMNS);
    let o = vec4<f32>(cotangent[p.x], cotangent[p.y], cotangent[p.z], cotangent[p.w]);
    return select(vec4<f32>(), o, there(quad, VALUE_COLUMNS));
}
