//! Compiled shaders: told apart by their content, compiled side by side.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::device::lock;
use crate::{Error, Result};

/// How a kernel binds a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binding {
    /// Storage, only read.
    StorageRead,
    /// Storage, written.
    StorageWrite,
    /// 256 bytes of run-time scalars.
    Uniform,
}

/// Everything that makes a pipeline.
#[derive(Clone, Copy, Debug)]
pub struct PipelineDesc<'a> {
    /// Name for errors and debuggers; not part of the identity.
    pub kernel: &'a str,
    /// WGSL text with the entry point `main`.
    pub source: &'a str,
    /// Values of `override` constants.
    pub constants: &'a [(&'static str, f64)],
    /// What is bound, in order.
    pub bindings: &'a [Binding],
}

/// A compiled shader.
#[derive(Clone)]
pub struct Pipeline(pub(crate) Arc<Compiled>);

pub(crate) struct Compiled {
    pub label: String,
    pub layout: wgpu::BindGroupLayout,
    pub pipeline: wgpu::ComputePipeline,
}

impl Pipeline {
    /// Name of the kernel it was first compiled for.
    pub fn label(&self) -> &str {
        &self.0.label
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pipeline({})", self.0.label)
    }
}

/// Identity of a pipeline: text, constants by their bits, bindings.
type PipelineKey = (String, Vec<(&'static str, u64)>, Vec<Binding>);

/// The pipelines of a device.
#[derive(Default)]
pub(crate) struct Pipelines {
    known: Mutex<HashMap<PipelineKey, Pipeline>>,
    created: AtomicU64,
}

impl Pipelines {
    /// How many were compiled.
    pub fn created(&self) -> u64 {
        self.created.load(Ordering::Relaxed)
    }

    /// The pipelines of shaders; those that are not there yet are compiled, on all cores, once `begin` knows them.
    pub fn get(
        &self,
        device: &wgpu::Device,
        descs: &[PipelineDesc<'_>],
        begin: impl FnOnce(&[PipelineDesc<'_>]),
    ) -> Result<Vec<Pipeline>> {
        let keys: Vec<PipelineKey> = descs.iter().map(key).collect();
        let (mut missing, mut new) = (Vec::new(), Vec::new());
        {
            let (known, mut seen) = (lock(&self.known), HashSet::new());
            for (key, desc) in keys.iter().zip(descs) {
                if !known.contains_key(key) && seen.insert(key) {
                    missing.push(key);
                    new.push(*desc);
                }
            }
        }
        begin(&new);
        let made = side_by_side(new.len(), |k| compile(device, &new[k]));
        let mut known = lock(&self.known);
        for (key, pipeline) in missing.into_iter().zip(made) {
            known.insert(key.clone(), pipeline?);
            self.created.fetch_add(1, Ordering::Relaxed);
        }
        let lost = || Error::internal("device", "a compiled pipeline is gone");
        keys.iter().map(|key| known.get(key).cloned().ok_or_else(lost)).collect()
    }
}

fn key(desc: &PipelineDesc<'_>) -> PipelineKey {
    let constants = desc.constants.iter().map(|&(name, value)| (name, value.to_bits())).collect();
    (desc.source.to_string(), constants, desc.bindings.to_vec())
}

/// `make` of every number below `n`, on all cores where there are threads.
#[cfg(not(target_arch = "wasm32"))]
fn side_by_side<T: Send>(n: usize, make: impl Fn(usize) -> T + Sync) -> Vec<T> {
    use std::sync::atomic::AtomicUsize;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(n);
    if threads < 2 {
        return (0..n).map(make).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&k| k < n);
        std::iter::from_fn(take).map(|k| (k, make(k))).collect::<Vec<_>>()
    };
    let mut made: Vec<(usize, T)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut made = work();
        for other in others {
            made.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        made
    });
    made.sort_unstable_by_key(|&(k, _)| k);
    made.into_iter().map(|(_, made)| made).collect()
}

#[cfg(target_arch = "wasm32")]
fn side_by_side<T>(n: usize, make: impl Fn(usize) -> T) -> Vec<T> {
    (0..n).map(make).collect()
}

pub(crate) fn compile(device: &wgpu::Device, desc: &PipelineDesc<'_>) -> Result<Pipeline> {
    let label = Some(desc.kernel);
    // Scopes of errors belong to threads.
    #[cfg(not(target_arch = "wasm32"))]
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let module = trusted_module(device, desc);
    let entries: Vec<_> = desc.bindings.iter().enumerate().map(|(k, b)| layout_entry(k, *b)).collect();
    let layout =
        device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label,
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label,
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: desc.constants,
            zero_initialize_workgroup_memory: false,
        },
        cache: None,
    });
    #[cfg(not(target_arch = "wasm32"))]
    if let Some(error) = pollster::block_on(scope.pop()) {
        let message = crate::gpu::one_line(&error.to_string());
        return Err(Error::Shader { kernel: desc.kernel.into(), message });
    }
    Ok(Pipeline(Arc::new(Compiled { label: desc.kernel.into(), layout, pipeline })))
}

/// A module without bounds checks and loop bounds.
///
/// Every shader here is Vorpal's own or comes through the same kernel contract: its launcher proves
/// that indices stay inside the buffers it binds and that loops end. `VORPAL_CHECKED=1` keeps the checks.
#[allow(unsafe_code)]
fn trusted_module(device: &wgpu::Device, desc: &PipelineDesc<'_>) -> wgpu::ShaderModule {
    let module = wgpu::ShaderModuleDescriptor {
        label: Some(desc.kernel),
        source: wgpu::ShaderSource::Wgsl(desc.source.into()),
    };
    if std::env::var_os("VORPAL_CHECKED").is_some_and(|v| v == "1") {
        return device.create_shader_module(module);
    }
    let mut checks = wgpu::ShaderRuntimeChecks::checked();
    checks.bounds_checks = false;
    checks.force_loop_bounding = false;
    // SAFETY: see above; the checks that remain are those no launcher can prove.
    unsafe { device.create_shader_module_trusted(module, checks) }
}

fn layout_entry(binding: usize, kind: Binding) -> wgpu::BindGroupLayoutEntry {
    let ty = match kind {
        Binding::Uniform => wgpu::BufferBindingType::Uniform,
        Binding::StorageRead => wgpu::BufferBindingType::Storage { read_only: true },
        Binding::StorageWrite => wgpu::BufferBindingType::Storage { read_only: false },
    };
    wgpu::BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}
