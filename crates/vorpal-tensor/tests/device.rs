//! Devices: memory, transfers, launches, faults, errors.

use std::sync::{Mutex, MutexGuard, PoisonError};

use vorpal_tensor::{Binding, Device, DeviceKind, Error, PipelineDesc, Replay, Step};

/// The native CPU and, where there is one, the software adapter.
fn devices() -> Vec<Device> {
    let mut out = vec![Device::cpu()];
    out.extend(adapter());
    out
}

fn adapter() -> Option<Device> {
    match Device::software() {
        Ok(device) => Some(device),
        Err(error) => {
            println!("skipped: no software adapter ({error})");
            None
        }
    }
}

/// Pipelines of an adapter are counted: whoever makes some is alone.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn bytes_make_the_round_trip() {
    for device in devices() {
        for len in [0usize, 1, 3, 4, 1000, 5_000_001] {
            let bytes: Vec<u8> = (0..len).map(|k| (k * 31 % 251) as u8).collect();
            let buffer = device.upload(&bytes).expect("there is room");
            assert_eq!(buffer.download().expect("it reads back"), bytes, "{device}, {len} bytes");
        }
    }
}

#[test]
fn the_same_device_twice_is_one_device() {
    assert_eq!(Device::cpu(), Device::named("CPU").expect("always there"));
    let listed = Device::list();
    assert_eq!(listed[0].kind, DeviceKind::NativeCpu);
    if let Some(device) = adapter() {
        assert_eq!(Some(&device), Device::software().ok().as_ref());
        assert!(listed.iter().any(|info| info == device.info()));
        let part: String = device.name().chars().take(6).collect();
        assert_eq!(Device::named(&part.to_uppercase()), Ok(device));
    }
}

#[test]
fn an_unknown_device_lists_what_is_there() {
    let error = Device::named("quantum").expect_err("there is none");
    let text = error.to_string();
    assert!(text.contains("\"quantum\"") && text.contains("cpu"), "{text}");
}

#[test]
fn freed_memory_is_used_again() {
    for device in devices() {
        // A size no other test of this process uses.
        let bytes = 777_216;
        let first = device.alloc(bytes).expect("there is room");
        let id = first.id();
        let twin = first.clone();
        assert_eq!(twin.holders(), 2);
        drop((first, twin));
        assert_eq!(device.alloc(bytes).expect("there is room").id(), id, "{device}");
    }
}

#[test]
fn the_impossible_is_out_of_memory_or_too_large() {
    let asked = 1usize << 60;
    let error = Device::cpu().alloc(asked).expect_err("an exbibyte");
    assert!(matches!(error, Error::OutOfMemory { asked: a, .. } if a >= asked as u64), "{error}");
    assert!(matches!(Device::cpu().check_room(asked as u64), Err(Error::OutOfMemory { .. })));
    if let Some(device) = adapter() {
        let error = device.alloc(asked).expect_err("an exbibyte");
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
}

#[test]
fn host_memory_is_not_an_adapters() {
    let buffer = Device::cpu().upload(&[1, 2, 3]).expect("there is room");
    buffer.write().expect("host memory")[1] = 7;
    assert_eq!(&*buffer.read().expect("host memory"), &[1, 7, 3]);
    if let Some(device) = adapter() {
        assert!(device.upload(&[1; 4]).expect("there is room").read().is_err());
    }
}

const SHADER: &str = "
    override ADDEND: u32 = 0;
    @group(0) @binding(0) var<storage, read> x: array<u32>;
    @group(0) @binding(1) var<storage, read_write> y: array<u32>;
    @group(0) @binding(2) var<uniform> params: array<vec4<u32>, 16>;
    @compute @workgroup_size(64)
    fn main(@builtin(global_invocation_id) id: vec3<u32>) {
        if id.x < params[0].x { y[id.x] = x[id.x] * 3u + ADDEND + params[0].y; }
    }";

#[test]
fn two_launches_run_in_one_submit_and_make_nothing_new() {
    let _guard = alone();
    let Some(device) = adapter() else { return };
    let bindings = [Binding::StorageRead, Binding::StorageWrite, Binding::Uniform];
    let constants = [("ADDEND", 5.0)];
    let desc = PipelineDesc { kernel: "affine", source: SHADER, constants: &constants, bindings: &bindings };
    let pipeline = device.pipeline(&desc).expect("it compiles");
    let step = |buffers: Vec<usize>, params| Step {
        pipeline: pipeline.clone(),
        buffers,
        starts: Vec::new(),
        writes: vec![false, true],
        groups: [2, 1, 1],
        params: Some(params),
        fault: false,
    };
    let steps =
        vec![step(vec![0, 1], 0), step(vec![1, 2], 256), Step { groups: [0; 3], ..step(vec![2, 0], 0) }];
    let mut replay = Replay::new(&device, steps, 512).expect("an adapter");
    let x: Vec<u32> = (0..100).collect();
    let mut table = vec![device.upload(bytemuck::cast_slice(&x)).expect("there is room")];
    for _ in 0..2 {
        table.push(device.alloc(400).expect("there is room"));
    }
    let mut params = vec![0u32; 128];
    (params[0], params[1], params[64], params[65]) = (100, 1, 100, 2);
    for run in 0..3 {
        params[1] = run;
        let before = device.stats();
        replay.run(&table, &[], bytemuck::cast_slice(&params)).expect("it runs");
        let out: Vec<u32> = bytemuck::pod_collect_to_vec(&table[2].download().expect("it reads back"));
        let expected: Vec<u32> = x.iter().map(|v| (v * 3 + 5 + run) * 3 + 5 + 2).collect();
        assert_eq!(out, expected);
        assert_eq!((device.stats() - before).pipelines_created, 0);
        let times = replay.run_timed(&table, &[], bytemuck::cast_slice(&params)).expect("it runs");
        assert_eq!(times.len(), 3);
        assert!(times[2].is_zero(), "nothing was launched");
        assert!(times.iter().all(|t| t.as_secs() < 60), "{times:?}");
        assert_eq!(
            bytemuck::pod_collect_to_vec::<u8, u32>(&table[2].download().expect("it reads back")),
            expected
        );
    }
    let twice = vec![table[0].clone(), table[0].clone(), table[2].clone()];
    assert!(replay.run(&twice, &[], bytemuck::cast_slice(&params)).is_err(), "a buffer read and written");
    assert!(replay.run(&table[..1], &[], bytemuck::cast_slice(&params)).is_err(), "a table too short");
}

#[test]
fn a_binding_starts_where_it_is_told_to() {
    let _guard = alone();
    let Some(device) = adapter() else { return };
    let bindings = [Binding::StorageRead, Binding::StorageWrite, Binding::Uniform];
    let desc = PipelineDesc { kernel: "affine", source: SHADER, constants: &[], bindings: &bindings };
    let pipeline = device.pipeline(&desc).expect("it compiles");
    let step = |starts: &[u64], params| Step {
        pipeline: pipeline.clone(),
        buffers: vec![0, 1],
        starts: starts.to_vec(),
        writes: vec![false, true],
        groups: [1; 3],
        params: Some(params),
        fault: false,
    };
    let x: Vec<u32> = (0..200).collect();
    let table = [
        device.upload(bytemuck::cast_slice(&x)).expect("there is room"),
        device.upload(&[0; 800]).expect("there is room"),
    ];
    let mut params = vec![0u32; 128];
    (params[0], params[64]) = (40, 40);
    let mut replay =
        Replay::new(&device, vec![step(&[512], 0), step(&[256, 256], 256)], 512).expect("an adapter");
    replay.run(&table, &[], bytemuck::cast_slice(&params)).expect("it runs");
    let out: Vec<u32> = bytemuck::pod_collect_to_vec(&table[1].download().expect("it reads back"));
    let of = |at: usize| match at {
        0..40 => 3 * x[128 + at],
        64..104 => 3 * x[at],
        _ => 0,
    };
    assert_eq!(out[..200], (0..200).map(of).collect::<Vec<_>>());
    let mut replay = Replay::new(&device, vec![step(&[1 << 30], 0)], 256).expect("an adapter");
    let error = replay.run(&table, &[], bytemuck::cast_slice(&params[..64])).expect_err("behind the end");
    assert!(matches!(error, Error::Internal { .. }), "{error}");
}

#[test]
fn a_bad_shader_says_where() {
    let _guard = alone();
    let Some(device) = adapter() else { return };
    let source = "@compute @workgroup_size(1) fn main() { let x: u32 = 1.5; }";
    let desc = PipelineDesc { kernel: "broken", source, constants: &[], bindings: &[] };
    let error = device.pipeline(&desc).expect_err("1.5 is no u32");
    assert!(matches!(&error, Error::Shader { kernel, .. } if kernel == "broken"), "{error}");
    assert_eq!(error.to_string().lines().count(), 1);
}

#[test]
fn memory_may_go_while_it_is_in_use() {
    let _guard = alone();
    let Some(device) = adapter() else { return };
    let bindings = [Binding::StorageRead, Binding::StorageWrite, Binding::Uniform];
    let desc = PipelineDesc { kernel: "affine", source: SHADER, constants: &[], bindings: &bindings };
    let pipeline = device.pipeline(&desc).expect("it compiles");
    let step = Step {
        pipeline,
        buffers: vec![0, 1],
        starts: Vec::new(),
        writes: vec![false, true],
        groups: [1, 1, 1],
        params: Some(0),
        fault: false,
    };
    let mut replay = Replay::new(&device, vec![step], 256).expect("an adapter");
    let mut params = [0u32; 64];
    params[0] = 64;
    for round in 0..20u32 {
        let x = device.upload(bytemuck::cast_slice(&[round; 64])).expect("there is room");
        let y = device.alloc(256).expect("there is room");
        replay.run(&[x, y.clone()], &[], bytemuck::cast_slice(&params)).expect("it runs");
        let out: Vec<u32> = bytemuck::pod_collect_to_vec(&y.download().expect("it reads back"));
        assert_eq!(out, [round * 3; 64]);
    }
    device.synchronize().expect("all is well");
}

#[test]
fn random_keys_follow_the_seed() {
    let device = Device::cpu();
    device.seed(11);
    let first = (device.next_key(), device.next_key());
    assert_ne!(first.0, first.1);
    let state = device.rng_state();
    device.next_key();
    device.set_rng_state(state);
    assert_eq!(device.next_key(), [11, 0, 2, 0]);
    device.seed(11);
    assert_eq!((device.next_key(), device.next_key()), first);
}
