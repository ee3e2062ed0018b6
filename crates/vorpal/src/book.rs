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
    LinearModels "04-linear.md"
    FullyConnected "05-fully-connected.md"
    AutomaticDifferentiation "06-automatic-differentiation.md"
    Convolution "07-convolution.md"
    BeyondImages "08-beyond-images.md"
    ScalingUp "09-scaling-up.md"
    Transformers "10-transformers.md"
    TransformersInPractice "11-transformers-in-practice.md"
    Graphs "12-graphs.md"
    Recurrent "13-recurrent.md"
    Generative "14-generative.md"
    Forecasting "15-forecasting.md"
    Causal "16-causal.md"
    Symmetry "17-symmetry.md"
    MemoryAndSparsity "18-memory-and-sparsity.md"
    Beyond "19-beyond.md"
}
