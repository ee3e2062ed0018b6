// Halves for subgroups that multiply matrices.

enable f16;
enable wgpu_cooperative_matrix;
enable wgpu_int16;

// Eight neighbours, read at once. They stay words, two halves each, until they are put where matrices are loaded from: halves that
// wait one by one take twice the registers.
alias Eight = vec4<u32>;

fn low(eight: Eight) -> vec4<f16> {
    return four_of(eight.xy);
}

fn high(eight: Eight) -> vec4<f16> {
    return four_of(eight.zw);
}

fn four_of(words: vec2<u32>) -> vec4<f16> {
    let first = vec2<u16>(words & vec2<u32>(0xffffu));
    let second = vec2<u16>(words >> vec2<u32>(16u));
    return bitcast<vec4<f16>>(vec4<u16>(first.x, second.x, first.y, second.y));
}

// Halves as results are made of them, converted by the device as what its matrices hold is.
fn half_value(bits: u32) -> f32 {
    return f32(bitcast<f16>(u16(bits)));
}

fn half_round(x: f32) -> f32 {
    return f32(f16(x));
}

fn half_pair(low: f32, high: f32) -> u32 {
    let pair = vec2<u32>(bitcast<vec2<u16>>(vec2<f16>(vec2<f32>(low, high))));
    return pair.x | pair.y << 16u;
}

