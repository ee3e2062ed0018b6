// Derivatives of attention by keys and values, side by side: every invocation has keys of its own and their values,
// queries and the cotangents of their results come by in tiles, head after head of those that share the keys.

var<private> key: array<vec4<f32>, OWN * QUADS>;
var<private> value: array<vec4<f32>, OWN * VALUE_QUADS>;
var<private> to_key: array<vec4<f32>, OWN * QUADS>;
var<private> to_value: array<vec4<f32>, OWN * VALUE_QUADS>;
var<private> product: array<f32, OWN>;
var<private> change: array<f32, OWN>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let blocks = (KEYS + LANES * OWN - 1u) / (LANES * OWN);
    let group = wg.x + wg.y * wgs.x;
    // Head of keys and batch together.
    let shared_pair = group / blocks;
    if shared_pair >= PAIRS / GROUP {
        return;
    }
    let first = group % blocks * LANES * OWN;
    let own = spot_of(shared_pair * GROUP);
    for (var n = 0u; n < OWN; n++) {
        let near = min(first + n * LANES + lane, KEYS - 1u);
        for (var i = 0u; i < QUADS; i++) {
            key[n * QUADS + i] = k_four(k_head(own) + near * K_R, i);
            to_key[n * QUADS + i] = vec4<f32>();
        }
        for (var i = 0u; i < VALUE_QUADS; i++) {
            value[n * VALUE_QUADS + i] = v_four(v_head(own) + near * V_R, i);
            to_value[n * VALUE_QUADS + i] = vec4<f32>();
        }
    }
    for (var member = 0u; member < GROUP; member++) {
        let spot = spot_of(shared_pair * GROUP + member);
        q_start = q_head(spot);
        o_start = o_head(spot);
        let seeing = queries_of(spot, first);
        for (var tile = seeing.x; tile < seeing.y; tile += TILE) {
            fetch(tile, lane);
            fetch_rest(spot.pair, tile, lane);
            meet();
            for (var j = 0u; j < min(TILE, seeing.y - tile); j++) {
                for (var n = 0u; n < OWN; n++) {
                    product[n] = 0.0;
                    change[n] = 0.0;
                }
                for (var i = 0u; i < QUADS; i++) {
                    let query = row_at(j, i);
                    for (var n = 0u; n < OWN; n++) {
                        product[n] += dot(query, key[n * QUADS + i]);
                    }
                }
                for (var i = 0u; i < VALUE_QUADS; i++) {
                    let given = value_at(j, i);
                    for (var n = 0u; n < OWN; n++) {
                        change[n] += dot(given, value[n * VALUE_QUADS + i]);
                    }
                }
                let rest = rest_at(j);
                for (var n = 0u; n < OWN; n++) {
                    let s = first + n * LANES + lane;
                    let b = bounded(product[n]);
                    let score = score_of(spot, tile + j, s, b);
                    let p = select(exp(score - rest.x), 0.0, score == NOTHING);
                    let keep = kept(spot, tile + j, s);
                    change[n] = p * (keep * change[n] + rest.y) * bounded_slope(b);
                    product[n] = keep * p;
                }
                for (var i = 0u; i < QUADS; i++) {
                    let query = row_at(j, i);
                    for (var n = 0u; n < OWN; n++) {
                        to_key[n * QUADS + i] += change[n] * query;
                    }
                }
                for (var i = 0u; i < VALUE_QUADS; i++) {
                    let given = value_at(j, i);
                    for (var n = 0u; n < OWN; n++) {
                        to_value[n * VALUE_QUADS + i] += product[n] * given;
                    }
                }
            }
            meet();
        }
    }
    for (var n = 0u; n < OWN; n++) {
        let s = first + n * LANES + lane;
        if s < KEYS {
            let row = (shared_pair * KEYS + s) * (COLUMNS + VALUE_COLUMNS);
            for (var i = 0u; i < QUADS; i++) {
                store(row + 4u * i, to_key[n * QUADS + i], there(i, COLUMNS));
            }
            for (var i = 0u; i < VALUE_QUADS; i++) {
                store(row + COLUMNS + 4u * i, to_value[n * VALUE_QUADS + i], there(i, VALUE_COLUMNS));
            }
        }
    }
}
