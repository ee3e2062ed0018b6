// Bitonic sorting (Batcher 1968) of rows of keys, each with its number to break ties: the levels of the network from
// LEVEL_LOW to LEVEL_HIGH, as far as their strides fit a tile in workgroup memory. Rows are padded to WIDTH, a power
// of two, and lie one after the other; a tile may hold several.

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;

override ROWS: u32 = 1u;
override LEN: u32 = 1u;
override WIDTH: u32 = 1u;
override X_OFFSET: u32 = 0u;
override LEVEL_LOW: u32 = 2u;
override LEVEL_HIGH: u32 = 1u;
// Whether x holds elements of rows, or pairs of key and number.
override FIRST: u32 = 1u;
// Whether numbers are written, or pairs.
override LAST: u32 = 1u;

const LANES: u32 = 256u;
const TILE: u32 = 2048u;
var<workgroup> keys: array<u32, TILE>;
var<workgroup> numbers: array<u32, TILE>;

// Orders the words of elements as their values are.
fn key(word: u32) -> u32 {
    return word;
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) wgs: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let base = (wg.x + wg.y * wgs.x) * TILE;
    if base >= ROWS * WIDTH {
        return;
    }
    for (var k = lane; k < TILE; k += LANES) {
        let place = base + k;
        let row = place / WIDTH;
        let p = place % WIDTH;
        // What fills up a row comes last.
        var own = 0xffffffffu;
        var number = p;
        if row < ROWS {
            if FIRST == 0u {
                own = x[2u * place];
                number = x[2u * place + 1u];
            } else if p < LEN {
                own = key(x[X_OFFSET + row * LEN + p]);
            }
        }
        keys[k] = own;
        numbers[k] = number;
    }
    workgroupBarrier();
    for (var level = LEVEL_LOW; level <= LEVEL_HIGH; level *= 2u) {
        for (var stride = min(level, TILE) / 2u; stride > 0u; stride /= 2u) {
            for (var k = lane; k < TILE / 2u; k += LANES) {
                let low = k / stride * 2u * stride + k % stride;
                let high = low + stride;
                let a = keys[low];
                let b = keys[high];
                let greater = a > b || (a == b && numbers[low] > numbers[high]);
                let up = ((base + low) % WIDTH & level) == 0u;
                if greater == up {
                    keys[low] = b;
                    keys[high] = a;
                    let number = numbers[low];
                    numbers[low] = numbers[high];
                    numbers[high] = number;
                }
            }
            workgroupBarrier();
        }
    }
    for (var k = lane; k < TILE; k += LANES) {
        let place = base + k;
        let row = place / WIDTH;
        let p = place % WIDTH;
        if row < ROWS {
            if LAST == 0u {
                out[2u * place] = keys[k];
                out[2u * place + 1u] = numbers[k];
            } else if p < LEN {
                out[row * LEN + p] = numbers[k];
            }
        }
    }
}
