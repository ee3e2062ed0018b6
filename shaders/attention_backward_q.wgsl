// Derivative of attention by the queries: every invocation has queries of its own and makes their probabilities anew
// from the logarithms of their sums.

var<private> query: array<vec4<f32>, OWN * QUADS>;
var<private> given: array<vec4<f32>, OWN * VALUE_QUADS>;
var<private> sum: array<vec4<f32>, OWN * QUADS>;
var<private> product: array<f32, OWN>;
var<private> change: array<f32, OWN>;
// Logarithms of sums, and what is added to a change.
var<private> own_rest: array<vec2<f32>, OWN>;

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
        for (var i = 0u; i < QUADS; i++) {
            query[n * QUADS + i] = SCALE * q_four(q_head(spot) + near * Q_R, i);
            sum[n * QUADS + i] = vec4<f32>();
        }
        for (var i = 0u; i < VALUE_QUADS; i++) {
            given[n * VALUE_QUADS + i] = o_four(o_head(spot) + near * O_R, i);
        }
        own_rest[n] = vec2<f32>(side[pair * QUERIES + near], side[(PAIRS + pair) * QUERIES + near]);
    }
    let seen = keys_of(spot, first);
    for (var tile = seen.x; tile < seen.y; tile += TILE) {
        fetch(tile, lane);
        meet();
        for (var j = 0u; j < min(TILE, seen.y - tile); j++) {
            for (var n = 0u; n < OWN; n++) {
                product[n] = 0.0;
                change[n] = 0.0;
            }
            for (var i = 0u; i < QUADS; i++) {
                let key = row_at(j, i);
                for (var n = 0u; n < OWN; n++) {
                    product[n] += dot(query[n * QUADS + i], key);
                }
            }
            for (var i = 0u; i < VALUE_QUADS; i++) {
                let value = value_at(j, i);
                for (var n = 0u; n < OWN; n++) {
                    change[n] += dot(given[n * VALUE_QUADS + i], value);
                }
            }
            for (var n = 0u; n < OWN; n++) {
                let t = first + n * LANES + lane;
                let b = bounded(product[n]);
                let score = score_of(spot, t, tile + j, b);
                let p = select(exp(score - own_rest[n].x), 0.0, score == NOTHING);
                let keep = kept(spot, t, tile + j);
                change[n] = p * (keep * change[n] + own_rest[n].y) * bounded_slope(b);
            }
            for (var i = 0u; i < QUADS; i++) {
                let key = row_at(j, i);
                for (var n = 0u; n < OWN; n++) {
                    sum[n * QUADS + i] += change[n] * key;
                }
            }
        }
        meet();
    }
    for (var n = 0u; n < OWN; n++) {
        let t = first + n * LANES + lane;
        if t < QUERIES {
            let row = (pair * QUERIES + t) * COLUMNS;
            for (var i = 0u; i < QUADS; i++) {
                store(row + 4u * i, SCALE * sum[n * QUADS + i], there(i, COLUMNS));
            }
        }
    }
}
