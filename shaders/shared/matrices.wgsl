// Batches of matrices: what their kernels share. A launch makes the steps FROM..TO of an algorithm; the next one goes on
// from its result, so that no invocation loops longer than software adapters allow.

override BATCH: u32 = 1u;
override ROWS: u32 = 1u;
override COLUMNS: u32 = 1u;
override FROM: u32 = 0u;
override TO: u32 = 1u;
override X_OFFSET: u32 = 0u;

const LANES: u32 = 64u;
