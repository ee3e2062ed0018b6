// Fused reductions and what is made of them, one row per workgroup of 64: lanes take every 64th
// column, or every 64th four of columns, then join what they have.

// Rows, or fours of them.
override UNITS: u32 = 1u;

var<workgroup> scratch: array<u32, 64>;
var<workgroup> eighths: array<u32, 8>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let unit = wg.x + wg.y * wgs.x;
    if unit < UNITS {
        process(unit, lane);
    }
}

// Evaluates and stores a row, or four.
fn process(unit: u32, lane: u32) {
}

// Joining goes through eighths of eight lanes each, always in the same order.
fn join_sum_f32(x: f32, lane: u32) -> f32 {
    scratch[lane] = bitcast<u32>(x);
    workgroupBarrier();
    if lane < 8u {
        var part = 0.0;
        for (var k = 0u; k < 8u; k++) {
            part += bitcast<f32>(scratch[lane * 8u + k]);
        }
        eighths[lane] = bitcast<u32>(part);
    }
    workgroupBarrier();
    var all = 0.0;
    for (var k = 0u; k < 8u; k++) {
        all += bitcast<f32>(eighths[k]);
    }
    return all;
}

fn join_sum_u32(x: u32, lane: u32) -> u32 {
    scratch[lane] = x;
    workgroupBarrier();
    if lane < 8u {
        var part = 0u;
        for (var k = 0u; k < 8u; k++) {
            part += scratch[lane * 8u + k];
        }
        eighths[lane] = part;
    }
    workgroupBarrier();
    var all = 0u;
    for (var k = 0u; k < 8u; k++) {
        all += eighths[k];
    }
    return all;
}

fn join_max_u32(x: u32, lane: u32) -> u32 {
    scratch[lane] = x;
    workgroupBarrier();
    if lane < 8u {
        var part = 0u;
        for (var k = 0u; k < 8u; k++) {
            part = max(part, scratch[lane * 8u + k]);
        }
        eighths[lane] = part;
    }
    workgroupBarrier();
    var all = 0u;
    for (var k = 0u; k < 8u; k++) {
        all = max(all, eighths[k]);
    }
    return all;
}
