//! Shaders of gather and scatter for every target.

#![allow(clippy::expect_used)]

mod common;

use common::check_shader;
use vorpal_kernels::{Gather, GatherShape, Kernel, SCATTER_LEN_MAX, ScatterAdd};
use vorpal_tensor::DType;

#[test]
fn shaders_translate_for_every_target() {
    for len in [0, 7, SCATTER_LEN_MAX] {
        let shape = GatherShape { outer: 2, axis: 5, inner: 3, len, index_strides: [3 * len, 3, 1] };
        check_shader(&Gather::new(shape, DType::F32, DType::I32, [0, 4]).shader().expect("a shader"));
        let scatter = ScatterAdd::new(shape, DType::F32, DType::U32, [1, 2, 3]).expect("short");
        check_shader(&scatter.shader().expect("a shader"));
    }
    let long =
        GatherShape { outer: 1, axis: 5, inner: 1, len: SCATTER_LEN_MAX + 1, index_strides: [0, 1, 0] };
    assert!(ScatterAdd::new(long, DType::F32, DType::I32, [0; 3]).is_none());
}
