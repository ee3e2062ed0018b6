
// What products through workgroup memory share: where a tile of TILE by WIDTH lies, and what is done with results.

// Rows of tiles that are gone through column by column, so that operands are found in the cache.
const BAND: u32 = 8u;

// The first row and column of a tile of a product.
fn first_of(tile: u32) -> vec2<u32> {
    let tiles_m = (M + TILE - 1u) / TILE;
    let tiles_n = (N + WIDTH - 1u) / WIDTH;
    let band = tile / (BAND * tiles_n);
    let high = min(BAND, tiles_m - band * BAND);
    let at = vec2<u32>(band * BAND + tile % (BAND * tiles_n) % high, tile % (BAND * tiles_n) / high);
    return at * vec2<u32>(TILE, WIDTH);
}

// What is done with four neighbours of the product, of which so many are there.
fn finish_four(acc: vec4<f32>, i: u32, there: u32) {
    for (var k = 0u; k < min(there, 4u); k++) {
        finish(acc[k], i + k);
    }
}

// What is done with an element of the product.
fn finish(acc: f32, i: u32) {
    out0[i] = acc;
}
