// Which probabilities an attention drops. Four neighbours, two queries by two keys, share a draw, which is remembered;
// every head draws with a key of its own.

var<private> drawn_for: vec2<u32> = vec2<u32>(0xffffffffu);
var<private> drawn: vec4<u32>;
var<private> drawn_pair: u32 = 0xffffffffu;
var<private> drawn_key: vec2<u32>;

// Whether the word of a query and a key, of `blocks` draws for two queries, reaches the threshold.
fn has_draw(pair: u32, query: u32, key: u32, blocks: u32, random_key: vec2<u32>, threshold: u32) -> bool {
    let place = vec2<u32>((query >> 1u) * blocks + (key >> 1u), pair);
    if pair != drawn_pair {
        let words = philox4x32(vec4<u32>(pair >> 1u, 0u, 0u, 0u), random_key);
        drawn_key = select(words.xy, words.zw, (pair & 1u) == 1u);
        drawn_pair = pair;
    }
    if any(place != drawn_for) {
        drawn = philox4x32(vec4<u32>(place.x & 0x3fffffffu, 0u, 0u, 0u), drawn_key);
        drawn_for = place;
    }
    return drawn[(query & 1u) * 2u + (key & 1u)] >= threshold;
}
