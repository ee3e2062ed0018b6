//! Element types and how they are stored.

use half::{bf16, f16};

/// The element type of a tensor.
///
/// | dtype | bytes stored | computed as | devices |
/// |---|---|---|---|
/// | `F64` | 8 | f64 | CPU |
/// | `F32` | 4 | f32 | all |
/// | `F16`, `BF16` | 2 (two to a 32-bit word on adapters) | f32 | all |
/// | `I64` | 8 | itself | CPU |
/// | `I32`, `U32` | 4 | itself | all |
/// | `I8`, `U8` | 1 | itself | CPU |
/// | `Bool` | 4 (0 or 1) | bool | all |
///
/// `docs/dtypes.md` says more: promotion, conversions, what adapters hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE binary64, CPU devices only.
    F64,
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// bfloat16: the upper half of an f32.
    BF16,
    /// Signed 64-bit integer, CPU devices only.
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 32-bit integer.
    U32,
    /// Signed 8-bit integer, CPU devices only.
    I8,
    /// Unsigned 8-bit integer, CPU devices only.
    U8,
    /// Truth value, stored as a 32-bit 0 or 1.
    Bool,
}

impl DType {
    /// Every dtype, in promotion order from the widest down.
    pub const ALL: [DType; 10] = [
        DType::F64,
        DType::F32,
        DType::F16,
        DType::BF16,
        DType::I64,
        DType::I32,
        DType::U32,
        DType::I8,
        DType::U8,
        DType::Bool,
    ];

    /// Bytes of one stored element.
    pub const fn size(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 | DType::I32 | DType::U32 | DType::Bool => 4,
            DType::F16 | DType::BF16 => 2,
            DType::I8 | DType::U8 => 1,
        }
    }

    /// Short lower-case name, as printed in errors and plans.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::U32 => "u32",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::Bool => "bool",
        }
    }

    /// Whether values are floating point (and therefore differentiable).
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F64 | DType::F32 | DType::F16 | DType::BF16)
    }

    /// Whether values are whole numbers; truth values are none.
    pub const fn is_integer(self) -> bool {
        matches!(self, DType::I64 | DType::I32 | DType::U32 | DType::I8 | DType::U8)
    }

    /// The dtype that operands of two dtypes are brought to: the smallest that holds both, where an integer beside a
    /// float takes the float's (as in PyTorch and JAX), and mixed signs go one size up. There are no 16-bit integers,
    /// so `I8` beside `U8` gives `I32`. A device without `I64` takes `I32` in its place.
    ///
    /// ```
    /// # use vorpal_tensor::DType;
    /// assert_eq!(DType::I64.promote(DType::F16), DType::F16);
    /// assert_eq!(DType::F16.promote(DType::BF16), DType::F32);
    /// assert_eq!(DType::I32.promote(DType::U32), DType::I64);
    /// ```
    #[must_use]
    pub const fn promote(self, other: DType) -> DType {
        use DType::{BF16, Bool, F16, F32, F64, I8, I32, I64, U8, U32};
        match (self, other) {
            (Bool, x) | (x, Bool) => x,
            (F64, _) | (_, F64) => F64,
            (F32, _) | (_, F32) | (F16, BF16) | (BF16, F16) => F32,
            (F16, _) | (_, F16) => F16,
            (BF16, _) | (_, BF16) => BF16,
            (I64, _) | (_, I64) | (U32, I32 | I8) | (I32 | I8, U32) => I64,
            (I32, _) | (_, I32) | (I8, U8) | (U8, I8) => I32,
            (U32, _) | (_, U32) => U32,
            (I8, I8) => I8,
            (U8, U8) => U8,
        }
    }

    /// Whether an element takes half a 32-bit word.
    pub const fn is_16bit(self) -> bool {
        matches!(self, DType::F16 | DType::BF16)
    }

    /// The type arithmetic is done in: f32 for 16-bit floats, the dtype itself otherwise.
    pub const fn compute(self) -> DType {
        match self {
            DType::F16 | DType::BF16 => DType::F32,
            other => other,
        }
    }

    /// Bytes that `len` elements take in a buffer, rounded up to whole 32-bit words.
    pub const fn bytes(self, len: usize) -> usize {
        (len * self.size()).div_ceil(4) * 4
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A Rust type that tensors can hold.
///
/// `bool` goes through [`Element::to_stored`], all others are stored as they are.
pub trait Element: Copy + Send + Sync + 'static {
    /// The dtype that stores this type.
    const DTYPE: DType;
    /// The plain type in the buffer.
    type Stored: bytemuck::Pod + Send + Sync;
    /// To the stored form.
    fn to_stored(self) -> Self::Stored;
    /// From the stored form.
    fn from_stored(stored: Self::Stored) -> Self;
}

macro_rules! element {
    ($($ty:ty => $dtype:ident),*) => {$(
        impl Element for $ty {
            const DTYPE: DType = DType::$dtype;
            type Stored = $ty;
            fn to_stored(self) -> $ty { self }
            fn from_stored(stored: $ty) -> $ty { stored }
        }
    )*};
}
element!(
    f64 => F64, f32 => F32, f16 => F16, bf16 => BF16, i64 => I64, i32 => I32, u32 => U32, i8 => I8, u8 => U8
);

impl Element for bool {
    const DTYPE: DType = DType::Bool;
    type Stored = u32;
    fn to_stored(self) -> u32 {
        u32::from(self)
    }
    fn from_stored(stored: u32) -> bool {
        stored != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bit_lengths_round_up_to_words() {
        assert_eq!(DType::F16.bytes(3), 8);
        assert_eq!(DType::BF16.bytes(0), 0);
        assert_eq!(DType::U8.bytes(5), 8);
        assert_eq!(DType::F64.bytes(3), 24);
        assert_eq!(DType::Bool.bytes(5), 20);
    }

    #[test]
    fn promotion_is_a_join() {
        for a in DType::ALL {
            assert_eq!(a.promote(a), a);
            for b in DType::ALL {
                let both = a.promote(b);
                assert_eq!(both, b.promote(a), "{a} and {b}");
                assert_eq!(both.promote(a), both, "{a} and {b}");
                assert_eq!(both.is_float(), a.is_float() || b.is_float(), "{a} and {b}");
            }
        }
    }

    #[test]
    fn bool_is_stored_as_a_word() {
        assert_eq!(true.to_stored(), 1);
        assert!(bool::from_stored(7));
    }
}
