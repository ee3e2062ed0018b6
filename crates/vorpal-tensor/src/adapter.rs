//! Adapters through wgpu: which there are, what they are able to do, and how they are opened.

use std::sync::{Mutex, OnceLock};

use crate::device::{Backend, lock};
use crate::gpu::Gpu;
use crate::{Device, DeviceInfo, DeviceKind, Error, Limits, Result};

/// An adapter that may be opened as a device, once.
pub(crate) struct Adapter {
    pub info: DeviceInfo,
    adapter: wgpu::Adapter,
    device: OnceLock<Device>,
    opening: Mutex<()>,
}

/// Every adapter, graphics cards first; found once.
pub(crate) async fn adapters() -> &'static [Adapter] {
    static ADAPTERS: OnceLock<Vec<Adapter>> = OnceLock::new();
    if let Some(known) = ADAPTERS.get() {
        return known;
    }
    let found = find_adapters().await;
    ADAPTERS.get_or_init(|| found)
}

async fn find_adapters() -> Vec<Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let mut seen: Vec<(String, u32, u32)> = Vec::new();
    let mut found: Vec<(DeviceKind, wgpu::Adapter)> = Vec::new();
    for adapter in instance.enumerate_adapters(wgpu::Backends::all()).await {
        let info = adapter.get_info();
        let identity = (info.name.clone(), info.vendor, info.device);
        let computes =
            adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS);
        // The same card through a second interface is no second card.
        if computes && !seen.contains(&identity) {
            seen.push(identity);
            found.push((kind(info.device_type), adapter));
        }
    }
    let rank = |kind: &DeviceKind| match kind {
        DeviceKind::Discrete => 0,
        DeviceKind::Integrated => 1,
        DeviceKind::Virtual => 2,
        DeviceKind::Other | DeviceKind::NativeCpu => 3,
        DeviceKind::Software => 4,
    };
    found.sort_by_key(|(kind, _)| rank(kind));
    let (mut cards, mut software) = (0, 0);
    let numbered = found.into_iter().map(|(kind, adapter)| {
        let selector = if kind == DeviceKind::Software {
            software += 1;
            if software == 1 { "software".to_string() } else { format!("software:{}", software - 1) }
        } else {
            cards += 1;
            format!("gpu:{}", cards - 1)
        };
        let info = describe(&adapter, kind, selector);
        Adapter { info, adapter, device: OnceLock::new(), opening: Mutex::new(()) }
    });
    numbered.collect()
}

fn kind(device_type: wgpu::DeviceType) -> DeviceKind {
    match device_type {
        wgpu::DeviceType::DiscreteGpu => DeviceKind::Discrete,
        wgpu::DeviceType::IntegratedGpu => DeviceKind::Integrated,
        wgpu::DeviceType::VirtualGpu => DeviceKind::Virtual,
        wgpu::DeviceType::Cpu => DeviceKind::Software,
        wgpu::DeviceType::Other => DeviceKind::Other,
    }
}

/// Optional features worth asking for.
fn wanted_features() -> wgpu::Features {
    wgpu::Features::TIMESTAMP_QUERY
        | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES
        | wgpu::Features::SUBGROUP
        | wgpu::Features::SHADER_F16
        | wgpu::Features::SHADER_INT64
}

/// What shaders that multiply matrices of halves need: halves, and integers of as many bits that become halves.
const FOR_MATRICES: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
    .union(wgpu::Features::SHADER_F16)
    .union(wgpu::Features::SHADER_I16);

/// Whether subgroups multiply matrices of 16 by 16 halves, with sums in f32.
fn multiplies_matrices(adapter: &wgpu::Adapter) -> bool {
    let fits = |p: &wgpu::CooperativeMatrixProperties| {
        let sizes = [p.m_size, p.n_size, p.k_size];
        let types = (p.ab_type, p.cr_type);
        sizes == [16; 3]
            && types == (wgpu::CooperativeScalarType::F16, wgpu::CooperativeScalarType::F32)
            && !p.saturating_accumulation
    };
    // As much workgroup memory as the kernels take.
    let has_room = adapter.limits().max_compute_workgroup_storage_size >= 48 << 10;
    has_room
        && adapter.features().contains(FOR_MATRICES)
        && adapter.cooperative_matrix_properties().iter().any(fits)
}

fn describe(adapter: &wgpu::Adapter, kind: DeviceKind, selector: String) -> DeviceInfo {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    let features = adapter.features() & wanted_features();
    let matrices = multiplies_matrices(adapter).then(|| DeviceInfo::MATRICES.to_string());
    DeviceInfo {
        name: info.name,
        selector,
        kind,
        backend: format!("{:?}", info.backend),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
        features: features.iter_names().map(|(name, _)| name.to_lowercase()).chain(matrices).collect(),
        subgroups: features
            .contains(wgpu::Features::SUBGROUP)
            .then_some([info.subgroup_min_size, info.subgroup_max_size]),
        limits: Limits {
            max_buffer_bytes: limits.max_buffer_size,
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
            binding_alignment: limits.min_storage_buffer_offset_alignment.max(16),
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
            max_invocations: limits.max_compute_invocations_per_workgroup,
            max_groups: limits.max_compute_workgroups_per_dimension,
        },
    }
}

impl Adapter {
    /// The device of this adapter; the same one every time.
    pub async fn open(&self) -> Result<Device> {
        if let Some(device) = self.device.get() {
            return Ok(device.clone());
        }
        let lost = |e: wgpu::RequestDeviceError| Error::DeviceLost {
            device: self.info.name.clone(),
            reason: e.to_string(),
        };
        let (device, queue) = request(&self.adapter, "vorpal").await.map_err(lost)?;
        let _one_at_a_time = lock(&self.opening);
        let made = self.device.get_or_init(|| {
            Device::new(self.info.clone(), |limit| {
                Backend::Gpu(Box::new(Gpu::new(device, queue, limit, self)))
            })
        });
        Ok(made.clone())
    }

    /// The adapter, if it compiles kernels when they are first launched, and keeps them for other devices.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn starts_slowly(&self) -> Option<&wgpu::Adapter> {
        self.info.driver.starts_with("llvmpipe").then_some(&self.adapter)
    }
}

/// Leave to use cooperative matrices.
#[allow(unsafe_code)]
fn experimental() -> wgpu::ExperimentalFeatures {
    // SAFETY: what is experimental may have faults that wgpu does not catch. Shaders with cooperative matrices are those of
    // this workspace alone, within bounds by themselves as all of them.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}

/// A device of an adapter with all that it can do.
pub(crate) async fn request(
    adapter: &wgpu::Adapter,
    label: &str,
) -> std::result::Result<(wgpu::Device, wgpu::Queue), wgpu::RequestDeviceError> {
    let mut required_features = adapter.features() & wanted_features();
    let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
    if multiplies_matrices(adapter) {
        required_features |= FOR_MATRICES;
        experimental_features = experimental();
    }
    let desc = wgpu::DeviceDescriptor {
        label: Some(label),
        required_features,
        required_limits: adapter.limits(),
        experimental_features,
        memory_hints: wgpu::MemoryHints::Performance,
        trace: wgpu::Trace::Off,
    };
    adapter.request_device(&desc).await
}
