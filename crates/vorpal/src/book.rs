//! The chapters of `docs/book`, so that their code is compiled and run with the tests.

/// Makes a chapter's code a test of documentation.
macro_rules! chapters {
    ($($name:ident $file:literal)*) => {$(
        #[doc = include_str!(concat!("../../../docs/book/src/", $file))]
        struct $name;
    )*};
}

chapters! {
    Introduction "01-introduction.md"
    Tensors "02-tensors.md"
    DataAndLosses "03-data-and-losses.md"
    FullyConnected "05-fully-connected.md"
    AutomaticDifferentiation "06-automatic-differentiation.md"
    ScalingUp "09-scaling-up.md"
    Generative "14-generative.md"
    MemoryAndSparsity "18-memory-and-sparsity.md"
    Beyond "19-beyond.md"
}
