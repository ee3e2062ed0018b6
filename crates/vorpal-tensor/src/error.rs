//! The one error type of Vorpal.

use std::panic::Location;

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A place in the user's source, printed as `file:line`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct At(pub &'static Location<'static>);

impl At {
    /// The caller of the function that is marked `#[track_caller]`.
    #[track_caller]
    pub fn caller() -> At {
        At(Location::caller())
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.0.file(), self.0.line())
    }
}

/// Everything that can go wrong. Each message is one line that names the thing, the numbers and
/// the place.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Shapes or axes do not fit an op.
    #[error("{op}: {message} (operands {operands}) at {at}")]
    Shape {
        /// Name of the op.
        op: &'static str,
        /// What was asked and what was found.
        message: String,
        /// dtype and shape of every operand, as in `f32[2, 3], f32[4]`.
        operands: String,
        /// Where the op was called.
        at: At,
    },
    /// Dtypes do not fit an op.
    #[error("{op}: {message} (operands {operands}) at {at}")]
    DType {
        /// Name of the op.
        op: &'static str,
        /// What was asked and what was found.
        message: String,
        /// dtype and shape of every operand.
        operands: String,
        /// Where the op was called.
        at: At,
    },
    /// Tensors of two devices met, or a device cannot do what was asked.
    #[error("{op}: {message} at {at}")]
    Device {
        /// Name of the op.
        op: &'static str,
        /// What was asked and what was found.
        message: String,
        /// Where the op was called.
        at: At,
    },
    /// No device goes by that name.
    #[error("no device named \"{asked}\": available are {available}")]
    UnknownDevice {
        /// The name that was asked for.
        asked: String,
        /// The names that would have been understood.
        available: String,
    },
    /// An index in a tensor points outside the axis it selects from.
    #[error("{op}: index {index} is out of range for an axis of size {size} at {at}")]
    Index {
        /// Name of the op.
        op: &'static str,
        /// The offending index.
        index: i64,
        /// Size of the indexed axis.
        size: usize,
        /// Where the op was called.
        at: At,
    },
    /// A part of an operand is not what the op can compute with: a singular matrix, a list that is not sorted.
    #[error("{op}: {what} {number} {problem} at {at}")]
    Value {
        /// Name of the op.
        op: &'static str,
        /// What kind of part, as "matrix".
        what: &'static str,
        /// Which one, in row-major order.
        number: i64,
        /// What it is, as "of the batch is singular".
        problem: &'static str,
        /// Where the op was called.
        at: At,
    },
    /// The device has no room.
    #[error(
        "out of memory on {device}: asked for {asked} bytes with {in_use} bytes in use of a limit of {limit} bytes"
    )]
    OutOfMemory {
        /// Name of the device.
        device: String,
        /// Bytes asked for.
        asked: u64,
        /// Bytes in use when asked.
        in_use: u64,
        /// Bytes the device may use.
        limit: u64,
    },
    /// A single tensor exceeds what one binding of the device can address.
    #[error("{op}: a buffer of {asked} bytes exceeds the limit of {limit} bytes of {device}")]
    TooLarge {
        /// Name of the op or kernel.
        op: String,
        /// Name of the device.
        device: String,
        /// Bytes asked for.
        asked: u64,
        /// Largest buffer or binding of the device.
        limit: u64,
    },
    /// The device went away (driver reset, unplugged, browser tab lost).
    #[error("device {device} was lost: {reason}")]
    DeviceLost {
        /// Name of the device.
        device: String,
        /// What the driver said.
        reason: String,
    },
    /// A shader did not compile.
    #[error("shader of kernel {kernel} does not compile: {message}")]
    Shader {
        /// Name of the kernel.
        kernel: String,
        /// The compiler's message.
        message: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {message}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        message: String,
    },
    /// A file or byte stream is not what it claims to be.
    #[error("{what}: {message}")]
    Format {
        /// The file or stream.
        what: String,
        /// What was expected and what was found.
        message: String,
    },
    /// A sample of a data set could not be made.
    #[error("sample {index}: {cause}")]
    Sample {
        /// Its number in the data set.
        index: usize,
        /// Why.
        cause: Box<Error>,
    },
    /// A user's function that runs apart from the caller panicked.
    #[error("{place} panicked: {message}")]
    Panicked {
        /// What ran.
        place: &'static str,
        /// What it panicked with.
        message: String,
    },
    /// An argument of a function is outside its domain.
    #[error("{op}: {message} at {at}")]
    Argument {
        /// Name of the function.
        op: &'static str,
        /// What was asked and what is allowed.
        message: String,
        /// Where the function was called.
        at: At,
    },
    /// An iteration did not settle.
    #[error(
        "{op}: not settled after {iterations} iterations: the last step changed the value by {residual:e}, allowed \
         is {tolerance:e} at {at}"
    )]
    Convergence {
        /// Name of the function.
        op: &'static str,
        /// Steps that were made.
        iterations: usize,
        /// Relative change of the last step.
        residual: f64,
        /// Largest change that would have done.
        tolerance: f64,
        /// Where the function was called.
        at: At,
    },
    /// A training ran into a number that is not finite.
    #[error("{what} is {value} at step {step}: {blame}")]
    NonFinite {
        /// What is not finite, as "the loss".
        what: &'static str,
        /// Its value.
        value: f64,
        /// The step, from 1.
        step: u64,
        /// Where it comes from.
        blame: String,
    },
    /// An invariant of Vorpal itself does not hold: a bug, reported instead of a wrong answer.
    #[error("internal error in {place}: {message}")]
    Internal {
        /// Which part noticed.
        place: &'static str,
        /// What it noticed.
        message: String,
    },
}

/// What the number stands for with which a kernel reports that an operand will not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// An index outside of an axis: [`Error::Index`].
    Index {
        /// Size of the axis.
        size: usize,
    },
    /// A part of an operand: [`Error::Value`].
    Value {
        /// What kind of part.
        what: &'static str,
        /// What it is.
        problem: &'static str,
    },
}

impl Fault {
    /// The error of an op about number `number`.
    pub fn error(self, op: &'static str, number: i64, at: At) -> Error {
        match self {
            Fault::Index { size } => Error::Index { op, index: number, size, at },
            Fault::Value { what, problem } => Error::Value { op, what, number, problem, at },
        }
    }
}

impl Error {
    /// An [`Error::Io`] for a path.
    pub fn io(path: impl AsRef<std::path::Path>, error: &std::io::Error) -> Error {
        Error::Io { path: path.as_ref().display().to_string(), message: error.to_string() }
    }

    /// An [`Error::Format`].
    pub fn format(what: impl Into<String>, message: impl Into<String>) -> Error {
        Error::Format { what: what.into(), message: message.into() }
    }

    /// An [`Error::Sample`].
    pub fn sample(index: usize, cause: Error) -> Error {
        Error::Sample { index, cause: Box::new(cause) }
    }

    /// An [`Error::Argument`] of the caller.
    #[track_caller]
    pub fn argument(op: &'static str, message: impl Into<String>) -> Error {
        Error::Argument { op, message: message.into(), at: At::caller() }
    }

    /// An [`Error::Internal`].
    pub fn internal(place: &'static str, message: impl Into<String>) -> Error {
        Error::Internal { place, message: message.into() }
    }
}
