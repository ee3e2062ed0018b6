// Matrix product in tiles of subgroups. Operands may have any strides; up to two batch axes. Arithmetic on places is
// modulo 2^32.

// Strides of the result.
override OUT_M: u32 = 1u;
override OUT_N: u32 = 1u;
override OUT_BATCH: u32 = 1u;

override B_FORM: u32 = 0u;

var<private> b_place: vec4<u32>;
var<private> out_place: u32;

fn tile_rows() -> u32 {
    return M;
}

fn tile_columns() -> u32 {
    return N;
}

fn tile_batches() -> u32 {
    return BATCH0 * BATCH1;
}

fn terms() -> u32 {
    return K;
}

fn enter(batch: u32, row0: u32, lane: u32, column: u32) {
    let batch0 = batch / BATCH1;
    let batch1 = batch % BATCH1;
    let a_base = A_OFFSET + batch0 * A_BATCH0 + batch1 * A_BATCH1;
    enter_rows(a_base, A_M, row0, lane);
    let b_base = B_OFFSET + batch0 * B_BATCH0 + batch1 * B_BATCH1;
    if B_FORM == ACROSS {
        b_place = vec4<u32>(b_base + min(column, N - 4u) * B_N);
    } else {
        b_place = b_base + min(column + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(N - 1u)) * B_N;
    }
    out_place = batch * OUT_BATCH;
}

fn place(row: u32, column: u32, j: u32) -> u32 {
    return out_place + row * OUT_M + (column + j) * OUT_N;
}

// Whether a term is one of the sum, which only the last step has to ask.
fn counts(term: u32) -> bool {
    return K % STEPS == 0u || term < K;
}

fn a_index(at: u32, term: u32) -> u32 {
    return at + term * A_K;
}

fn b_one(i: u32) -> f32 {
    return b[i];
}

fn b_four(i: u32) -> vec4<f32> {
    return vec4<f32>(b[i], b[i + 1u], b[i + 2u], b[i + 3u]);
}

fn b_index(at: u32, term: u32) -> u32 {
    return at + select(0u, term, counts(term)) * B_K;
}

fn b_if(at: u32, term: u32) -> f32 {
    return select(0.0, b_one(b_index(at, term)), counts(term));
}

fn load_columns(columns: ptr<function, array<vec4<f32>, STEPS>>, first: u32) {
    let at = b_place;
    if B_FORM == ALONG {
        let w = b_four(at.x + first);
        let x = b_four(at.y + first);
        let y = b_four(at.z + first);
        let z = b_four(at.w + first);
        for (var step = 0u; step < STEPS; step++) {
            (*columns)[step] = vec4<f32>(w[step], x[step], y[step], z[step]);
        }
    } else {
        for (var step = 0u; step < STEPS; step++) {
            let term = first + step;
            if B_FORM == ACROSS {
                (*columns)[step] = select(vec4<f32>(), b_four(b_index(at.x, term)), counts(term));
            } else {
                (*columns)[step] =
                    vec4<f32>(b_if(at.x, term), b_if(at.y, term), b_if(at.z, term), b_if(at.w, term));
            }
        }
    }
}
