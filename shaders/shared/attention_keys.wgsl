// Keys and values come by. They belong to the head whose rows start here.
var<private> k_start: u32;
var<private> v_start: u32;

fn passing_row(key: u32, quad: u32) -> vec4<f32> {
    return k_four(k_start + min(key, KEYS - 1u) * K_R, quad);
}

fn passing_value(key: u32, quad: u32) -> vec4<f32> {
    return v_four(v_start + min(key, KEYS - 1u) * V_R, quad);
}
