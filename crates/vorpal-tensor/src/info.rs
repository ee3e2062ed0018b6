//! What a device is and what it can hold.

/// The kind of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// The processor itself, through native code.
    NativeCpu,
    /// A graphics card with memory of its own.
    Discrete,
    /// A graphics unit that shares the processor's memory.
    Integrated,
    /// A share of a graphics card in a virtual machine.
    Virtual,
    /// A graphics interface emulated on the processor, such as llvmpipe.
    Software,
    /// Anything else.
    Other,
}

impl std::fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DeviceKind::NativeCpu => "native CPU",
            DeviceKind::Discrete => "discrete GPU",
            DeviceKind::Integrated => "integrated GPU",
            DeviceKind::Virtual => "virtual GPU",
            DeviceKind::Software => "software adapter",
            DeviceKind::Other => "adapter",
        })
    }
}

/// What one launch and one buffer of a device may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest buffer, in bytes.
    pub max_buffer_bytes: u64,
    /// Largest part of a buffer that one kernel can see, in bytes.
    pub max_binding_bytes: u64,
    /// Storage buffers of one kernel.
    pub max_storage_buffers: u32,
    /// Bytes whose multiples bindings start at: what the device asks for, and no less than a word natively or the widest
    /// load of a shader.
    pub binding_alignment: u32,
    /// Workgroup memory, in bytes.
    pub max_workgroup_bytes: u32,
    /// Invocations of one workgroup.
    pub max_invocations: u32,
    /// Workgroups along one dimension of a launch.
    pub max_groups: u32,
}

/// Name, kind and abilities of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Name the driver gives.
    pub name: String,
    /// Short name that selects it: `cpu`, `software`, `gpu:0`.
    pub selector: String,
    /// Its kind.
    pub kind: DeviceKind,
    /// Graphics interface: `Vulkan`, `Metal`, …; `native` for the CPU.
    pub backend: String,
    /// Driver and its version.
    pub driver: String,
    /// Optional features that are there.
    pub features: Vec<String>,
    /// Least and most invocations of a subgroup, where shaders may use subgroups.
    pub subgroups: Option<[u32; 2]>,
    /// Limits.
    pub limits: Limits,
}

impl DeviceInfo {
    /// Among the features: subgroups multiply matrices of 16 by 16 halves, with sums in f32
    /// (`VK_KHR_cooperative_matrix`).
    pub const MATRICES: &str = "matrices_of_halves";

    /// A number for this adapter with this driver, the same in every process: what was compiled or measured for another
    /// is worth nothing here.
    pub fn fingerprint(&self) -> u64 {
        crate::stable_hash(&[self.name.as_bytes(), self.backend.as_bytes(), self.driver.as_bytes()])
    }

    /// The native CPU.
    pub(crate) fn host() -> DeviceInfo {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let limits = Limits {
            max_buffer_bytes: isize::MAX as u64,
            max_binding_bytes: isize::MAX as u64,
            max_storage_buffers: 8,
            binding_alignment: 4,
            max_workgroup_bytes: 16 << 10,
            max_invocations: 256,
            max_groups: 65_535,
        };
        DeviceInfo {
            name: format!("native CPU, {threads} threads"),
            selector: "cpu".into(),
            kind: DeviceKind::NativeCpu,
            backend: "native".into(),
            driver: format!("{} {}", std::env::consts::ARCH, std::env::consts::OS),
            features: vec!["f64".into()],
            subgroups: None,
            limits,
        }
    }
}

impl std::fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({}, {}, {})", self.selector, self.name, self.kind, self.backend, self.driver)
    }
}
