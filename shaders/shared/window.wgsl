// Sizes of a window that moves over images; axes are depth (z), height (y) and width (x). Arithmetic on places is
// modulo 2^32.

override DEPTH: u32 = 1u;
override HEIGHT: u32 = 1u;
override WIDTH: u32 = 1u;
override OUT_DEPTH: u32 = 1u;
override OUT_HEIGHT: u32 = 1u;
override OUT_WIDTH: u32 = 1u;
override WINDOW_Z: u32 = 1u;
override WINDOW_Y: u32 = 1u;
override WINDOW_X: u32 = 1u;
override STRIDE_Z: u32 = 1u;
override STRIDE_Y: u32 = 1u;
override STRIDE_X: u32 = 1u;
override PADDING_Z: u32 = 0u;
override PADDING_Y: u32 = 0u;
override PADDING_X: u32 = 0u;
override DILATION_Z: u32 = 1u;
override DILATION_Y: u32 = 1u;
override DILATION_X: u32 = 1u;
