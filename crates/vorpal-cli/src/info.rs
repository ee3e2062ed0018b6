//! `vorpal info`.

use std::io::Write;

use crate::Outcome;

pub fn run() -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    // Whoever stopped reading has seen enough.
    let _ = write(&mut out);
    Ok(())
}

fn write(out: &mut impl Write) -> std::io::Result<()> {
    let chosen = vorpal::Device::best();
    for info in vorpal::Device::list() {
        writeln!(out, "{info}")?;
        let features = if info.features.is_empty() { "none".into() } else { info.features.join(", ") };
        writeln!(out, "    features: {features}")?;
        let l = &info.limits;
        if !l.max_buffer_bytes.eq(&(isize::MAX as u64)) {
            writeln!(
                out,
                "    limits: buffers of {} MiB ({} MiB seen by a kernel, {} of them), {} KiB of workgroup memory, {} \
                 invocations, {} groups a dimension",
                l.max_buffer_bytes >> 20,
                l.max_binding_bytes >> 20,
                l.max_storage_buffers,
                l.max_workgroup_bytes >> 10,
                l.max_invocations,
                l.max_groups
            )?;
        }
    }
    match chosen {
        Ok(device) => writeln!(out, "without --device: {}", device.info().selector),
        Err(error) => writeln!(out, "without --device: {error}"),
    }
}
