// Fused reductions and what is made of them, a power of two of lanes of a workgroup for each row, or four rows: lanes take
// columns, or fours of columns, in turn, then join what they have. Either the columns of a row lie side by side, and so do
// the lanes that share it; or rows do, and so do lanes of different rows.

// Workgroups with work.
override GROUPS: u32 = 1u;
override LANES: u32 = 64u;
// Lanes that share a row, rows of a workgroup, and what is between neighbours of each.
override SHARERS: u32 = 64u;
override ABREAST: u32 = 1u;
override LANE_STEP: u32 = 1u;
override UNIT_STEP: u32 = 64u;
// Lanes that join a part each.
override PARTS: u32 = 8u;

var<workgroup> scratch: array<u32, 256>;
var<workgroup> parts: array<u32, 256>;
// Where the lanes of this row begin.
var<private> first: u32;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let group = wg.x + wg.y * wgs.x;
    let abreast = local / UNIT_STEP % ABREAST;
    first = abreast * UNIT_STEP;
    if group < GROUPS {
        process(group * ABREAST + abreast, local / LANE_STEP % SHARERS);
    }
}

// Evaluates and stores a row, or four.
fn process(unit: u32, lane: u32) {
}

// The place of a lane of this row.
fn place(lane: u32) -> u32 {
    return first + lane * LANE_STEP;
}

// Joining goes through parts of the lanes, always in the same order.
fn join_sum_f32(x: f32, lane: u32) -> f32 {
    scratch[place(lane)] = bitcast<u32>(x);
    workgroupBarrier();
    if lane < PARTS {
        var part = 0.0;
        for (var k = 0u; k < SHARERS / PARTS; k++) {
            part += bitcast<f32>(scratch[place(lane * (SHARERS / PARTS) + k)]);
        }
        parts[place(lane)] = bitcast<u32>(part);
    }
    workgroupBarrier();
    var all = 0.0;
    for (var k = 0u; k < PARTS; k++) {
        all += bitcast<f32>(parts[place(k)]);
    }
    return all;
}

fn join_sum_u32(x: u32, lane: u32) -> u32 {
    scratch[place(lane)] = x;
    workgroupBarrier();
    if lane < PARTS {
        var part = 0u;
        for (var k = 0u; k < SHARERS / PARTS; k++) {
            part += scratch[place(lane * (SHARERS / PARTS) + k)];
        }
        parts[place(lane)] = part;
    }
    workgroupBarrier();
    var all = 0u;
    for (var k = 0u; k < PARTS; k++) {
        all += parts[place(k)];
    }
    return all;
}

fn join_max_u32(x: u32, lane: u32) -> u32 {
    scratch[place(lane)] = x;
    workgroupBarrier();
    if lane < PARTS {
        var part = 0u;
        for (var k = 0u; k < SHARERS / PARTS; k++) {
            part = max(part, scratch[place(lane * (SHARERS / PARTS) + k)]);
        }
        parts[place(lane)] = part;
    }
    workgroupBarrier();
    var all = 0u;
    for (var k = 0u; k < PARTS; k++) {
        all = max(all, parts[place(k)]);
    }
    return all;
}
