// Roots of unity by exact whole numbers: sine and cosine of WGSL promise three digits.

// e^(2πi k ∕ n) for k < n ≤ 2^29. The octant is found exactly; within it polynomials are good to an ulp.
fn unit_root(k: u32, n: u32) -> vec2<f32> {
    let octant = 8u * k / n;
    let rest = 8u * k - octant * n;
    let odd = (octant & 1u) == 1u;
    let t = 0.78539816339744831 * f32(select(rest, n - rest, odd)) / f32(n);
    let s = t * t;
    let sine = t * (1.0 + s * (-1.6666667e-1 + s * (8.3333333e-3 + s * (-1.9841270e-4 + s * 2.7557319e-6))));
    let cosine =
        1.0 + s * (-0.5 + s * (4.1666667e-2 + s * (-1.3888889e-3 + s * (2.4801587e-5 - s * 2.7557319e-7))));
    // The nearest axis is that of octant rounded up, half of it.
    let turned = vec2<f32>(cosine, select(sine, -sine, odd));
    switch ((octant + 1u) / 2u) & 3u {
        case 1u: {
            return vec2<f32>(-turned.y, turned.x);
        }
        case 2u: {
            return -turned;
        }
        case 3u: {
            return vec2<f32>(turned.y, -turned.x);
        }
        default: {
            return turned;
        }
    }
}
