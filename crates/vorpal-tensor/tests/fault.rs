//! Faults of kernels, in a process of their own: whoever reads back next is told.

use vorpal_tensor::{At, Binding, Device, Error, Fault, PipelineDesc, Replay, Step};

#[test]
fn a_fault_comes_back_with_the_next_download() {
    let Ok(device) = Device::software() else {
        println!("skipped: no software adapter");
        return;
    };
    let source = "
        @group(0) @binding(0) var<storage, read_write> y: array<u32>;
        @group(0) @binding(1) var<uniform> params: array<vec4<u32>, 16>;
        @group(0) @binding(2) var<storage, read_write> fault: array<atomic<u32>, 4>;
        @compute @workgroup_size(1) fn main() {
            y[0] = 1u;
            if atomicCompareExchangeWeak(&fault[0], 0u, params[0].x).exchanged { atomicStore(&fault[1], bitcast<u32>(-3i)); }
        }";
    let bindings = [Binding::StorageWrite, Binding::Uniform, Binding::StorageWrite];
    let desc = PipelineDesc { kernel: "faulty", source, constants: &[], bindings: &bindings };
    let pipeline = device.pipeline(&desc).expect("it compiles");
    let step = Step {
        pipeline,
        buffers: vec![0],
        starts: Vec::new(),
        writes: vec![true],
        groups: [1; 3],
        params: Some(0),
        fault: true,
    };
    let mut replay = Replay::new(&device, vec![step], 256).expect("an adapter");
    let at = At::caller();
    let index = Fault::Index { size: 10 };
    let code = device.fault_code("gather", at, index);
    assert_eq!(device.fault_code("gather", at, index), code);
    assert_ne!(device.fault_code("gather", at, Fault::Index { size: 11 }), code);
    let mut params = [0u8; 256];
    params[..4].copy_from_slice(&code.to_le_bytes());
    let table = [device.alloc(4).expect("there is room")];
    replay.run(&table, &[], &params).expect("it runs");
    let expected = Error::Index { op: "gather", index: -3, size: 10, at };
    assert_eq!(table[0].download(), Err(expected));
    assert!(table[0].download().is_ok(), "a fault is told once");
    let singular = Fault::Value { what: "matrix", problem: "is singular" };
    params[..4].copy_from_slice(&device.fault_code("inv", at, singular).to_le_bytes());
    replay.run(&table, &[], &params).expect("it runs");
    let error = table[0].download().expect_err("a fault");
    assert_eq!(error.to_string(), format!("inv: matrix -3 is singular at {at}"));
}
