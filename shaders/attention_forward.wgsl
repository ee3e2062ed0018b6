// Attention without a matrix of scores: every invocation has queries of its own, keys and values come by in tiles, and
// what was summed is scaled down whenever a higher score turns up (Milakov & Gimelshein 2018; Dao et al. 2022). A row
// of the result has one column more than a value: the logarithm of the sum of the exponentials of the scores. With it
// a later launch goes on where this one ends.

@group(0) @binding(3) var<storage, read_write> out: array<f32>;

// Whether there are results for the keys before FROM.
override CONTINUES: u32 = 0u;

var<private> query: array<vec4<f32>, OWN * QUADS>;
var<private> sum: array<vec4<f32>, OWN * VALUE_QUADS>;
var<private> top: array<f32, OWN>;
var<private> weight: array<f32, OWN>;
var<private> product: array<f32, OWN>;

// An element of the results for the keys before FROM.
fn before(place: u32) -> f32 {
    return 0.0;
}

// Place of the result of a query.
fn result_of(pair: u32, query: u32) -> u32 {
    return (pair * QUERIES + query) * (VALUE_COLUMNS + 1u);
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let blocks = (QUERIES + LANES * OWN - 1u) / (LANES * OWN);
    let group = wg.x + wg.y * wgs.x;
    let pair = group / blocks;
    if pair >= PAIRS {
        return;
    }
    let first = group % blocks * LANES * OWN;
    let spot = spot_of(pair);
    k_start = k_head(spot);
    v_start = v_head(spot);
    for (var n = 0u; n < OWN; n++) {
        let near = min(first + n * LANES + lane, QUERIES - 1u);
        let row = result_of(pair, near);
        for (var i = 0u; i < QUADS; i++) {
            query[n * QUADS + i] = SCALE * q_four(q_head(spot) + near * Q_R, i);
        }
        top[n] = NOTHING;
        weight[n] = 0.0;
        if CONTINUES != 0u {
            top[n] = before(row + VALUE_COLUMNS);
            weight[n] = select(1.0, 0.0, top[n] < HALF_NOTHING);
        }
        for (var i = 0u; i < VALUE_QUADS; i++) {
            let p = places(row, i, 1u, VALUE_COLUMNS);
            let have = vec4<f32>(before(p.x), before(p.y), before(p.z), before(p.w));
            sum[n * VALUE_QUADS + i] = select(vec4<f32>(), have, there(i, VALUE_COLUMNS));
        }
    }
    let seen = keys_of(spot, first);
    for (var tile = seen.x; tile < seen.y; tile += TILE) {
        fetch(tile, lane);
        meet();
        for (var j = 0u; j < min(TILE, seen.y - tile); j++) {
            for (var n = 0u; n < OWN; n++) {
                product[n] = 0.0;
            }
            for (var i = 0u; i < QUADS; i++) {
                let key = row_at(j, i);
                for (var n = 0u; n < OWN; n++) {
                    product[n] += dot(query[n * QUADS + i], key);
                }
            }
            for (var n = 0u; n < OWN; n++) {
                let t = first + n * LANES + lane;
                let score = score_of(spot, t, tile + j, bounded(product[n]));
                if score > top[n] {
                    let shrink = exp(top[n] - score);
                    weight[n] *= shrink;
                    for (var i = 0u; i < VALUE_QUADS; i++) {
                        sum[n * VALUE_QUADS + i] *= shrink;
                    }
                    top[n] = score;
                }
                let p = select(exp(score - top[n]), 0.0, score == NOTHING);
                weight[n] += p;
                product[n] = p * kept(spot, t, tile + j);
            }
            for (var i = 0u; i < VALUE_QUADS; i++) {
                let value = value_at(j, i);
                for (var n = 0u; n < OWN; n++) {
                    sum[n * VALUE_QUADS + i] += product[n] * value;
                }
            }
        }
        meet();
    }
    for (var n = 0u; n < OWN; n++) {
        let t = first + n * LANES + lane;
        if t < QUERIES {
            let row = result_of(pair, t);
            let share = select(1.0 / weight[n], 0.0, weight[n] == 0.0);
            for (var i = 0u; i < VALUE_QUADS; i++) {
                store(row + 4u * i, sum[n * VALUE_QUADS + i] * share, there(i, VALUE_COLUMNS));
            }
            out[row + VALUE_COLUMNS] = select(top[n] + log(weight[n]), NOTHING, weight[n] == 0.0);
        }
    }
}
