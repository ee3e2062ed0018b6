// Sizes of a convolution beside those of its window.

override A_OFFSET: u32 = 0u;
override B_OFFSET: u32 = 0u;
override BATCH: u32 = 1u;
override GROUPS: u32 = 1u;
// Per group.
override CHANNELS: u32 = 1u;
override FILTERS: u32 = 1u;
// Whether images, results and windows are one pixel deep, without padding: the depth then costs nothing.
override FLAT: u32 = 0u;
