//! Fused expressions: a list of instructions that one kernel evaluates for every element.

use smallvec::SmallVec;
use vorpal_tensor::{DType, Layout};

use crate::pointwise::merged;
use crate::{Arg, Lane, LaneMut, Starts};

/// Position of an instruction in its [`Program`]; instructions only refer to earlier ones.
pub type ValueId = usize;

/// A scalar function: one line of mathematics with its shader text and native body.
///
/// The shader text is a WGSL expression in `a`, `b` and `c`, evaluated at the compute type of its
/// operands (`f32`, `i32`, `u32` or `bool`).
#[derive(Debug)]
pub struct ScalarFn {
    /// Unique name, as it appears in plans.
    pub name: &'static str,
    /// Number of operands, 1 to 3.
    pub arity: usize,
    /// Type of the result.
    pub result: ResultType,
    /// WGSL expression in `a`, `b`, `c`, and `zero` and `one` of the last operand's type. Statements may come before it,
    /// each ended by `; `.
    pub wgsl: &'static str,
    /// WGSL functions the expression calls: a complete text that is valid by itself, or empty. Texts
    /// are linked once however many functions share them.
    pub support: &'static str,
    /// Native body on blocks of elements. All operands and the result have the same length, but that one of two f32
    /// operands may be a single element that stands for all, as in [`map2`](crate::map2).
    pub cpu: fn(&[Lane<'_>], LaneMut<'_>),
    /// Floating point operations, for cost estimates.
    pub flops: u32,
}

impl PartialEq for ScalarFn {
    fn eq(&self, other: &ScalarFn) -> bool {
        self.name == other.name
    }
}

/// Result type of a [`ScalarFn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultType {
    /// That of the last operand.
    Last,
    /// A truth value.
    Bool,
    /// Always f32.
    F32,
    /// Always u32.
    U32,
}

/// How a reduction combines elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReduceKind {
    /// Sum, accumulated in f32 (f64 for f64); 0 of nothing.
    Sum,
    /// Maximum; NaN wins; the lowest value of the type of nothing (−∞ for floats).
    Max,
    /// Minimum; NaN wins; the highest value of the type of nothing (+∞ for floats).
    Min,
}

/// Which iteration a value belongs to in a row kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Domain {
    /// One value per element of the iteration space. The only domain of pointwise kernels.
    Full,
    /// One value per row: what is left when the reduced axes are gone.
    Row,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq)]
pub enum Inst {
    /// Reads buffer argument `arg` at the place `layout` gives to the linear index of `domain`.
    /// Fill of a padded layout is `fill`. The value has the compute type of the argument's dtype.
    Load {
        /// Which argument.
        arg: usize,
        /// Map from linear index of the domain to place; its shape has as many elements as the domain.
        layout: Layout,
        /// Value outside the bounds of a padded layout.
        fill: f64,
        /// Which linear index.
        domain: Domain,
    },
    /// Run-time scalar number `index`.
    Scalar {
        /// Which scalar.
        index: usize,
        /// Its compute type.
        dtype: DType,
    },
    /// A constant, part of the shader.
    Const {
        /// The value; integers and truth values are exact.
        value: f64,
        /// Its compute type.
        dtype: DType,
    },
    /// The place `layout` gives to the linear index, as `U32`: coordinates and counters of any view.
    Place {
        /// Map from linear index of the domain to the value.
        layout: Layout,
        /// Which linear index.
        domain: Domain,
    },
    /// A scalar function of earlier values.
    Call {
        /// The function.
        f: &'static ScalarFn,
        /// Operands.
        args: SmallVec<[ValueId; 3]>,
    },
    /// Conversion: float → integer truncates towards zero and saturates, NaN becomes 0; anything → bool is
    /// `!= 0`.
    Cast {
        /// Operand.
        x: ValueId,
        /// Target dtype. 16-bit targets round to that precision and stay in f32.
        dtype: DType,
    },
    /// The value handed over by the kernel this program is an epilogue of (f32, or f64 where the
    /// kernel computes in f64).
    Acc {
        /// Its compute type.
        dtype: DType,
    },
    /// Combines an earlier `Full` value over all columns of the row; the result is a `Row` value.
    Reduce {
        /// How.
        kind: ReduceKind,
        /// Operand.
        x: ValueId,
    },
}

/// Writes a value to argument `arg`, contiguously: `Full` values at the linear index of the
/// element, `Row` values at the number of the row. The argument's dtype may be a 16-bit float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Store {
    /// What to write.
    pub value: ValueId,
    /// Where.
    pub arg: usize,
}

/// A fused expression in single-assignment form.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Program {
    /// Instructions in order of evaluation.
    pub insts: Vec<Inst>,
    /// Results.
    pub stores: Vec<Store>,
}

impl Program {
    /// Compute type of every value, given the arguments of the kernel.
    pub fn types(&self, args: &[Arg]) -> Vec<DType> {
        let mut types: Vec<DType> = Vec::with_capacity(self.insts.len());
        for inst in &self.insts {
            let dtype = match inst {
                Inst::Load { arg, .. } => args[*arg].dtype.compute(),
                Inst::Scalar { dtype, .. } | Inst::Const { dtype, .. } | Inst::Acc { dtype } => {
                    dtype.compute()
                }
                Inst::Place { .. } => DType::U32,
                Inst::Cast { dtype, .. } => dtype.compute(),
                Inst::Reduce { x, .. } => types[*x],
                Inst::Call { f, args } => match f.result {
                    ResultType::Last => types[args[args.len() - 1]],
                    ResultType::Bool => DType::Bool,
                    ResultType::F32 => DType::F32,
                    ResultType::U32 => DType::U32,
                },
            };
            types.push(dtype);
        }
        types
    }

    /// Domain of every value: a value is `Row` unless it depends on something `Full`. Constants and
    /// scalars are `Row`.
    pub fn domains(&self) -> Vec<Domain> {
        let mut out: Vec<Domain> = Vec::with_capacity(self.insts.len());
        for inst in &self.insts {
            out.push(match inst {
                Inst::Load { domain, .. } | Inst::Place { domain, .. } => *domain,
                Inst::Acc { .. } => Domain::Full,
                Inst::Scalar { .. } | Inst::Const { .. } | Inst::Reduce { .. } => Domain::Row,
                Inst::Cast { x, .. } => out[*x],
                Inst::Call { args, .. } => {
                    if args.iter().any(|&a| out[a] == Domain::Full) {
                        Domain::Full
                    } else {
                        Domain::Row
                    }
                }
            });
        }
        out
    }

    /// Floating point operations per evaluation of everything once.
    pub fn flops(&self) -> u64 {
        self.insts
            .iter()
            .map(|inst| match inst {
                Inst::Call { f, .. } => u64::from(f.flops),
                Inst::Reduce { .. } => 1,
                _ => 0,
            })
            .sum()
    }

    /// Whether argument `input` is read only by identity loads of `len` elements, so that each
    /// element is read only where the same place of an equally large output is written.
    pub fn reads_in_place(&self, input: usize, len: usize) -> bool {
        self.insts.iter().all(|inst| match inst {
            Inst::Load { arg, layout, domain, .. } if *arg == input => {
                *domain == Domain::Full && layout.is_identity() && layout.shape.numel() == len
            }
            _ => true,
        })
    }

    /// Replaces argument `input` by `output` and moves later arguments down by one.
    pub fn merge_args(&mut self, input: usize, output: usize) {
        let place = |arg: usize| {
            let arg = if arg == input { output } else { arg };
            if arg > input { arg - 1 } else { arg }
        };
        self.renumber(place);
    }

    /// Gives every argument the number that `place` tells.
    pub fn renumber(&mut self, place: impl Fn(usize) -> usize) {
        for inst in &mut self.insts {
            if let Inst::Load { arg, .. } = inst {
                *arg = place(*arg);
            }
        }
        for store in &mut self.stores {
            store.arg = place(store.arg);
        }
    }
}

/// A fused expression at the end of a matmul, convolution or other kernel: it starts from
/// [`Inst::Acc`] and writes every result. The kernel alone without fusion has
/// [`Epilogue::store`].
///
/// The linear index of its loads and stores is that of the kernel's contiguous result. Argument
/// numbers count on from the kernel's own inputs: `first_arg` inputs come first, then `args`.
#[derive(Clone, Debug, PartialEq)]
pub struct Epilogue {
    /// Expression; all values are `Full` or constant.
    pub program: Program,
    /// Arguments beyond the kernel's own inputs: further inputs and all outputs.
    pub args: Vec<Arg>,
    /// dtypes of run-time scalars.
    pub scalars: Vec<DType>,
}

impl Epilogue {
    /// Stores the result as it is, as argument `first_arg`.
    pub fn store(first_arg: usize, dtype: DType, len: usize) -> Epilogue {
        Epilogue {
            program: Program {
                insts: vec![Inst::Acc { dtype }],
                stores: vec![Store { value: 0, arg: first_arg }],
            },
            args: vec![Arg::write(dtype, len)],
            scalars: Vec::new(),
        }
    }

    /// This epilogue of a kernel with arguments `args` and `len` results, with argument `input` dropped and read through
    /// `output` instead, as [`Kernel::in_place`](crate::Kernel::in_place) tells.
    pub(crate) fn in_place(&self, args: &[Arg], len: usize, input: usize, output: usize) -> Option<Epilogue> {
        let own = args.len() - self.args.len();
        // The first result holds the accumulators, natively.
        if input < own || output == own {
            return None;
        }
        let (program, args) = merged(&self.program, args, len, input, output)?;
        Some(Epilogue { program, args: args[own..].to_vec(), scalars: self.scalars.clone() })
    }

    /// This epilogue of a kernel with arguments `args`, bound from where it first reads them; the kernel's own start where
    /// they do.
    pub(crate) fn rebased(&self, args: &[Arg]) -> (Epilogue, Starts) {
        let own = args.len() - self.args.len();
        let (mut program, mut args) = (self.program.clone(), args.to_vec());
        let starts = program.rebase(&mut args);
        (Epilogue { program, args: args[own..].to_vec(), scalars: self.scalars.clone() }, starts)
    }
}
