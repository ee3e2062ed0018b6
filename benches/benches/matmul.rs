//! Matrix products.

mod family;

fn main() -> Result<(), vorpal::Error> {
    family::run(
        "matmul",
        &[
            "matmul_512",
            "matmul_1024",
            "matmul_2048",
            "matmul_batched_16x256",
            "gemv_4096",
            "matmul_4096x64x4096",
        ],
    )
}
