//! The shaders of attention, with what options add to them.

use vorpal_shaders::{
    ATTENTION_BACKWARD_BIAS, ATTENTION_BACKWARD_KV, ATTENTION_BACKWARD_Q, ATTENTION_DRAWS, ATTENTION_FORWARD,
    Linker, Shader,
};

use super::{Attention, AttentionPass, Operand};

/// Steps that no sequence is longer than.
pub(super) const FAR: usize = 0x3fff_ffff;

const LENGTHS: &str = "
fn lengths_of(batch: u32) -> vec2<i32> {
    let queries = min(i32(side[LENGTHS + batch]), i32(QUERIES));
    let keys = min(i32(side[LENGTHS + PAIRS / HEADS + batch]), i32(KEYS));
    return max(vec2<i32>(queries, keys), vec2<i32>());
}";

const SLOPE: &str = "
fn slope_of(pair: u32) -> f32 {
    return side[SLOPES + pair];
}";

const BIAS: &str = "
fn bias_of(spot: Spot, query: u32, key: u32) -> f32 {
    return bias[BIAS_OFFSET + spot.batch * BIAS_B + spot.head * BIAS_H + query * BIAS_R + key * BIAS_C];
}";

const MASK: &str = "
fn is_allowed(spot: Spot, query: u32, key: u32) -> bool {
    return mask[MASK_OFFSET + spot.batch * MASK_B + spot.head * MASK_H + query * MASK_R + key * MASK_C] != 0u;
}";

const KEPT: &str = "
fn kept(spot: Spot, query: u32, key: u32) -> f32 {
    let low = vec2<u32>(u32(side[DRAWS]), u32(side[DRAWS + 2u]));
    let high = vec2<u32>(u32(side[DRAWS + 1u]), u32(side[DRAWS + 3u]));
    let pair = spot.batch % DRAWN_BATCH * HEADS + spot.head;
    let kept = has_draw(pair, query, key, (KEYS + 1u) >> 1u, low | (high << vec2<u32>(16u)), THRESHOLD);
    return select(0.0, KEEP, kept);
}";

const BEFORE: &str = "
fn before(place: u32) -> f32 {
    return so_far[place];
}";

/// What subgroups do in place of workgroup memory: every invocation fetches one row.
const NEAR: &str = "
var<private> near_row: array<vec4<f32>, QUADS>;
var<private> near_value: array<vec4<f32>, VALUE_QUADS>;
var<private> near_rest: vec2<f32>;
";

const OF_SUBGROUPS: [(&str, &str); 4] = [
    ("meet", "fn meet() {\n}"),
    (
        "fetch",
        "fn fetch(tile: u32, lane: u32) {
    for (var i = 0u; i < QUADS; i++) {
        near_row[i] = passing_row(tile + lane, i);
    }
    for (var i = 0u; i < VALUE_QUADS; i++) {
        near_value[i] = passing_value(tile + lane, i);
    }
}",
    ),
    (
        "row_at",
        "fn row_at(j: u32, quad: u32) -> vec4<f32> {
    return subgroupShuffle(near_row[quad], j);
}",
    ),
    (
        "value_at",
        "fn value_at(j: u32, quad: u32) -> vec4<f32> {
    return subgroupShuffle(near_value[quad], j);
}",
    ),
];

const REST_OF_SUBGROUPS: [(&str, &str); 2] = [
    (
        "fetch_rest",
        "fn fetch_rest(pair: u32, tile: u32, lane: u32) {
    near_rest = passing_rest(pair, tile + lane);
}",
    ),
    (
        "rest_at",
        "fn rest_at(j: u32) -> vec2<f32> {
    return subgroupShuffle(near_rest, j);
}",
    ),
];

const WORDS64: &str = "
fn four_of(words: vec2<u64>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(
        u32(words.x), u32(words.x >> 32u), u32(words.y), u32(words.y >> 32u)));
}
";

impl Attention {
    pub(super) fn link(&self) -> Result<Shader, String> {
        let base = match self.pass {
            AttentionPass::Forward => ATTENTION_FORWARD,
            AttentionPass::BackwardQ => ATTENTION_BACKWARD_Q,
            AttentionPass::BackwardKv => ATTENTION_BACKWARD_KV,
            AttentionPass::BackwardBias => ATTENTION_BACKWARD_BIAS,
            AttentionPass::Backward => return Err("adapters make its parts apart".to_string()),
        };
        let [quads, value_quads] = self.shape.quads();
        let linker = self
            .loads(self.passing(Linker::new(base))?)?
            .define("QUADS", quads)?
            .define("VALUE_QUADS", value_quads)?
            .define("TILE", self.tile())?
            .define("LANES", self.lanes())?
            .define("OWN", self.own())?;
        Ok(self.sizes(self.options(linker)?).finish())
    }

    /// How rows come by: through workgroup memory, or from lane to lane of a subgroup.
    fn passing(&self, mut linker: Linker) -> Result<Linker, String> {
        if self.subgroup().is_none() {
            return Ok(linker);
        }
        let with_rest = self.pass == AttentionPass::BackwardKv;
        let rest: &[_] = if with_rest { &REST_OF_SUBGROUPS } else { &[] };
        for (name, text) in OF_SUBGROUPS.iter().chain(rest) {
            linker = linker.replace(name, text)?;
        }
        Ok(linker.append(NEAR))
    }

    /// Operands whose rows are whole fours in memory are read by fours.
    fn loads(&self, mut linker: Linker) -> Result<Linker, String> {
        const NAMES: [(&str, &str); 4] =
            [("q", "q_four"), ("k", "k_four"), ("v", "v_four"), ("cotangent", "o_four")];
        let words64 = self.abilities.words64;
        for (operand, (buffer, function)) in self.operands.iter().zip(NAMES) {
            if !operand.is_in_fours() {
                continue;
            }
            let four = format!("{buffer}[row / 4u + quad]");
            let four = if words64 { format!("four_of({four})") } else { four };
            let text = format!("fn {function}(row: u32, quad: u32) -> vec4<f32> {{\n    return {four};\n}}");
            let item = if words64 { "vec2<u64>" } else { "vec4<f32>" };
            linker = linker.replace(function, &text)?.retype(buffer, item)?;
            if words64 {
                linker = linker.append(WORDS64);
            }
        }
        Ok(linker)
    }

    /// Buffers and functions of the options.
    fn options(&self, mut linker: Linker) -> Result<Linker, String> {
        let rules = &self.rules;
        let declared = self.pass != AttentionPass::Forward;
        let mut binding = self.operands.len() + usize::from(declared);
        let mut bind = |linker: Linker, name: &str, item: &str| {
            let text = format!("@group(0) @binding({binding}) var<storage, read> {name}: array<{item}>;");
            binding += 1;
            linker.append(&text)
        };
        if self.has_side() && !declared {
            linker = bind(linker, "side", "f32");
        }
        if self.bias.is_some() {
            linker = bind(linker, "bias", "f32").replace("bias_of", BIAS.trim_start())?;
        }
        if self.mask.is_some() {
            linker = bind(linker, "mask", "u32").replace("is_allowed", MASK.trim_start())?;
        }
        if self.continues {
            linker = bind(linker, "so_far", "f32").replace("before", BEFORE.trim_start())?;
        }
        if rules.slopes {
            linker = linker.replace("slope_of", SLOPE.trim_start())?;
        }
        if rules.lengths {
            linker = linker.replace("lengths_of", LENGTHS.trim_start())?;
        }
        if rules.dropout.is_some() {
            linker = linker.replace("kept", KEPT.trim_start())?.append(ATTENTION_DRAWS);
        }
        linker.rebind("out", binding)
    }

    fn sizes(&self, mut linker: Linker) -> Linker {
        const NAMES: [[&str; 5]; 4] = [
            ["Q_OFFSET", "Q_B", "Q_H", "Q_R", "Q_C"],
            ["K_OFFSET", "K_B", "K_H", "K_R", "K_C"],
            ["V_OFFSET", "V_B", "V_H", "V_R", "V_C"],
            ["O_OFFSET", "O_B", "O_H", "O_R", "O_C"],
        ];
        const BIAS: [&str; 5] = ["BIAS_OFFSET", "BIAS_B", "BIAS_H", "BIAS_R", "BIAS_C"];
        const MASK: [&str; 5] = ["MASK_OFFSET", "MASK_B", "MASK_H", "MASK_R", "MASK_C"];
        // Without elements nothing is launched, but constants must still make sense.
        let mut shape = self.shape;
        match self.pass {
            AttentionPass::BackwardKv => shape.keys = shape.keys.max(1),
            AttentionPass::BackwardBias => {
                (shape.queries, shape.keys) = (shape.queries.max(1), shape.keys.max(1));
            }
            _ => shape.queries = shape.queries.max(1),
        }
        let rules = &self.rules;
        let [slopes, lengths, draws, _] = self.side();
        let far = |steps: Option<usize>| steps.map_or(FAR, |steps| steps.min(FAR));
        linker = linker
            .constant("PAIRS", shape.pairs().max(1))
            .constant("HEADS", shape.heads.max(1))
            .constant("GROUP", shape.group().max(1))
            .constant("QUERIES", shape.queries)
            .constant("KEYS", shape.keys)
            .constant("COLUMNS", shape.columns)
            .constant("VALUE_COLUMNS", shape.value_columns)
            .float("SCALE", rules.scale)
            .float("CAP", rules.softcap.unwrap_or(0.0))
            .constant("LEFT", far(rules.left))
            .constant("RIGHT", far(rules.right))
            .constant("FROM", self.range.start)
            .constant("TO", self.range.end);
        if slopes != lengths {
            linker = linker.constant("SLOPES", slopes);
        }
        if lengths != draws {
            linker = linker.constant("LENGTHS", lengths);
        }
        if let Some(dropout) = &rules.dropout {
            linker = linker
                .constant("DRAWS", draws)
                .constant("THRESHOLD", dropout.threshold() as usize)
                .constant("DRAWN_BATCH", dropout.batch.max(1))
                .float("KEEP", dropout.keep());
        }
        if self.pass == AttentionPass::Forward {
            linker = linker.constant("CONTINUES", usize::from(self.continues));
        }
        if let (AttentionPass::BackwardBias, Some(bias)) = (self.pass, &self.bias) {
            linker = linker
                .constant("ROW", usize::from(self.is_row()))
                .constant("BIAS_BATCH", bias.sizes[0].max(1))
                .constant("BIAS_HEADS", bias.sizes[1].max(1));
        }
        let mut places: Vec<(&[&'static str; 5], &Operand)> = NAMES.iter().zip(&self.operands).collect();
        places.extend(self.bias.iter().map(|bias| (&BIAS, bias)));
        places.extend(self.mask.iter().map(|mask| (&MASK, mask)));
        for (names, operand) in places {
            let numbers = [operand.offset].into_iter().chain(operand.strides);
            for (name, number) in names.iter().zip(numbers) {
                // Places are modulo 2³², so negative strides need no signs.
                linker = linker.constant(name, number as u32 as usize);
            }
        }
        linker
    }
}
