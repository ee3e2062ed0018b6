
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
