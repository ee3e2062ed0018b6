// Sizes and strides of a matrix product with up to two batch axes.

override M: u32 = 1u;
override N: u32 = 1u;
override K: u32 = 1u;
// Sizes of the batch axes.
override BATCH0: u32 = 1u;
override BATCH1: u32 = 1u;
// Offsets and strides.
override A_OFFSET: u32 = 0u;
override A_BATCH0: u32 = 0u;
override A_BATCH1: u32 = 0u;
override A_M: u32 = 1u;
override A_K: u32 = 1u;
override B_OFFSET: u32 = 0u;
override B_BATCH0: u32 = 0u;
override B_BATCH1: u32 = 0u;
override B_K: u32 = 1u;
override B_N: u32 = 1u;

