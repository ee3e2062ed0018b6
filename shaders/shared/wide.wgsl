// Four floats of a buffer that is read in words of 64 bits.
fn wide_four(words: vec2<u64>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(
        u32(words.x), u32(words.x >> 32u), u32(words.y), u32(words.y >> 32u)));
}
