//! Devices: one handle for graphics adapters and the native CPU.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::adapter;
use crate::gpu::Gpu;
use crate::host::HostBlock;
use crate::pool::Pool;
use crate::rng::{Rng, RngFork};
use crate::{
    At, Buffer, DType, DeviceInfo, DeviceKind, Error, Fault, Limits, Result, RngState, Stats, memory_limit,
};
use crate::{Pipeline, PipelineDesc};

/// A place where tensors live and kernels run. Cheap to clone; two handles are equal when they stand
/// for the same device.
///
/// ```
/// use vorpal_tensor::Device;
/// let device = Device::cpu();
/// let buffer = device.upload(&[1, 2, 3, 4])?;
/// assert_eq!(buffer.download()?, [1, 2, 3, 4]);
/// # Ok::<(), vorpal_tensor::Error>(())
/// ```
#[derive(Clone)]
pub struct Device(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub info: DeviceInfo,
    pub backend: Backend,
    pub rng: Rng,
    pub plans_compiled: AtomicU64,
    pub submits: AtomicU64,
    pub readbacks: AtomicU64,
    /// Who is to blame for a fault code: code `k + 1` is entry `k`.
    faults: Mutex<Vec<(&'static str, At, Fault)>>,
    /// A memory limit in the environment that makes no sense.
    limit_error: Option<Error>,
}

pub(crate) enum Backend {
    Host(Mutex<Pool<(u64, HostBlock)>>),
    Gpu(Box<Gpu>),
}

/// Numbers of allocations, never used twice.
pub(crate) static NEXT_ALLOCATION: AtomicU64 = AtomicU64::new(1);

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Device {
    pub(crate) fn new(info: DeviceInfo, backend: impl FnOnce(u64) -> Backend) -> Device {
        let (asked, limit_error) = match memory_limit::from_environment() {
            Ok(asked) => (asked, None),
            Err(error) => (None, Some(error)),
        };
        let shares_host = matches!(info.kind, DeviceKind::NativeCpu | DeviceKind::Software);
        let limit = asked.unwrap_or_else(|| if shares_host { memory_limit::of_host() } else { u64::MAX });
        Device(Arc::new(Inner {
            info,
            backend: backend(limit),
            rng: Rng::new(),
            plans_compiled: AtomicU64::new(0),
            submits: AtomicU64::new(0),
            readbacks: AtomicU64::new(0),
            faults: Mutex::new(Vec::new()),
            limit_error,
        }))
    }

    /// The device that `VORPAL_DEVICE` names; without it the first discrete, integrated or virtual
    /// GPU, and without one the native CPU. A software adapter is never chosen unasked.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`] for a name in the environment that stands for nothing,
    /// [`Error::DeviceLost`] when the adapter refuses.
    pub async fn best_async() -> Result<Device> {
        if let Ok(name) = std::env::var("VORPAL_DEVICE")
            && !name.eq_ignore_ascii_case("best")
        {
            return Device::named_async(&name).await;
        }
        let real = |k| matches!(k, DeviceKind::Discrete | DeviceKind::Integrated | DeviceKind::Virtual);
        match adapter::adapters().await.iter().find(|a| real(a.info.kind)) {
            Some(adapter) => adapter.open().await,
            None => Ok(Device::cpu()),
        }
    }

    /// As [`best_async`](Device::best_async), waiting for the driver.
    ///
    /// # Errors
    /// As [`best_async`](Device::best_async).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn best() -> Result<Device> {
        pollster::block_on(Device::best_async())
    }

    /// The native CPU. Always there.
    pub fn cpu() -> Device {
        static CPU: OnceLock<Device> = OnceLock::new();
        CPU.get_or_init(|| {
            Device::new(DeviceInfo::host(), |limit| Backend::Host(Mutex::new(Pool::new(limit))))
        })
        .clone()
    }

    /// A graphics interface emulated on the processor, such as llvmpipe: what continuous integration
    /// has in place of a graphics card. `VORPAL_SOFTWARE` names another adapter to stand in its place:
    /// `VORPAL_SOFTWARE=gpu cargo test` runs every test on the graphics card.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`] when there is none.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn software() -> Result<Device> {
        Device::named(std::env::var("VORPAL_SOFTWARE").as_deref().unwrap_or("software"))
    }

    /// Graphics card number `n`, counted from 0: discrete ones first, then integrated, then others.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`] when there are not as many.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn gpu(n: usize) -> Result<Device> {
        Device::named(&format!("gpu:{n}"))
    }

    /// The device that a name stands for: `best`, `cpu`, `software`, `gpu`, `gpu:1`, or a part of an
    /// adapter's name in any case.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`] with the names that are understood here.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn named(name: &str) -> Result<Device> {
        pollster::block_on(Device::named_async(name))
    }

    /// As `named`, without blocking.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`] with the names that are understood here.
    pub async fn named_async(name: &str) -> Result<Device> {
        let asked = name.trim().to_lowercase();
        match asked.as_str() {
            "best" => return Box::pin(Device::best_async()).await,
            "cpu" => return Ok(Device::cpu()),
            _ => {}
        }
        let adapters = adapter::adapters().await;
        let selector = if asked == "gpu" { "gpu:0" } else { &asked };
        let found = adapters.iter().find(|a| a.info.selector == selector).or_else(|| {
            let part =
                |a: &&adapter::Adapter| !asked.is_empty() && a.info.name.to_lowercase().contains(&asked);
            adapters.iter().find(part)
        });
        match found {
            Some(adapter) => adapter.open().await,
            None => {
                let names = adapters.iter().map(|a| format!("{} ({})", a.info.selector, a.info.name));
                let available = ["best".into(), "cpu".into()].into_iter().chain(names).collect::<Vec<_>>();
                Err(Error::UnknownDevice { asked: name.into(), available: available.join(", ") })
            }
        }
    }

    /// Every device of this machine, the native CPU first.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn list() -> Vec<DeviceInfo> {
        let adapters = pollster::block_on(adapter::adapters());
        std::iter::once(DeviceInfo::host()).chain(adapters.iter().map(|a| a.info.clone())).collect()
    }

    /// Name, kind and abilities.
    pub fn info(&self) -> &DeviceInfo {
        &self.0.info
    }

    /// Name the driver gives.
    pub fn name(&self) -> &str {
        &self.0.info.name
    }

    /// Limits of buffers and launches.
    pub fn limits(&self) -> &Limits {
        &self.0.info.limits
    }

    /// Whether this is the native CPU.
    pub fn is_cpu(&self) -> bool {
        matches!(self.0.backend, Backend::Host(_))
    }

    /// Whether tensors of a dtype can live here: 64-bit and 8-bit ones only on the native CPU.
    pub fn supports(&self, dtype: DType) -> bool {
        !matches!(dtype, DType::F64 | DType::I64 | DType::I8 | DType::U8) || self.is_cpu()
    }

    /// What the device has done so far and the memory it holds.
    pub fn stats(&self) -> Stats {
        let (pipelines, allocated, in_use, pooled, peak) = match &self.0.backend {
            Backend::Host(pool) => {
                let pool = lock(pool);
                (0, pool.allocated, pool.in_use, pool.pooled, pool.peak)
            }
            Backend::Gpu(gpu) => gpu.memory_stats(),
        };
        Stats {
            pipelines_created: pipelines,
            buffers_allocated: allocated,
            submits: self.0.submits.load(Ordering::Relaxed),
            readbacks: self.0.readbacks.load(Ordering::Relaxed),
            plans_compiled: self.0.plans_compiled.load(Ordering::Relaxed),
            bytes_in_use: in_use,
            bytes_pooled: pooled,
            peak_bytes: peak,
        }
    }

    /// Counts a compiled plan.
    pub fn count_plan(&self) {
        self.0.plans_compiled.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a run of a plan on the native CPU, which has no queue to count at.
    pub fn count_submit(&self) {
        self.0.submits.fetch_add(1, Ordering::Relaxed);
    }

    /// A buffer of `bytes` bytes with unspecified content, from the pool where one fits.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::TooLarge`], or what made the device unusable.
    pub fn alloc(&self, bytes: usize) -> Result<Buffer> {
        if let Some(error) = &self.0.limit_error {
            return Err(error.clone());
        }
        let limit = self.limits().max_buffer_bytes.min(self.limits().max_binding_bytes);
        if bytes as u64 > limit {
            let device = self.name().to_string();
            return Err(Error::TooLarge { op: "alloc".into(), device, asked: bytes as u64, limit });
        }
        Buffer::allocate(self, bytes)
    }

    /// A buffer with these bytes.
    ///
    /// # Errors
    /// As [`alloc`](Device::alloc).
    pub fn upload(&self, bytes: &[u8]) -> Result<Buffer> {
        let buffer = self.alloc(bytes.len())?;
        buffer.fill(bytes)?;
        Ok(buffer)
    }

    /// Whether `bytes` more bytes fit, asked before anything runs.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] with what was asked, what is in use and the limit.
    pub fn check_room(&self, bytes: u64) -> Result<()> {
        let (room, in_use, limit) = match &self.0.backend {
            Backend::Host(pool) => {
                let pool = lock(pool);
                (pool.has_room(bytes), pool.in_use, pool.limit)
            }
            Backend::Gpu(gpu) => gpu.room(bytes),
        };
        if room { Ok(()) } else { Err(self.out_of_memory(bytes, in_use, limit)) }
    }

    pub(crate) fn out_of_memory(&self, asked: u64, in_use: u64, limit: u64) -> Error {
        Error::OutOfMemory { device: self.name().to_string(), asked, in_use, limit }
    }

    /// The compiled pipeline of a shader; the same content gives the same pipeline.
    ///
    /// # Errors
    /// As [`pipelines`](Device::pipelines).
    pub fn pipeline(&self, desc: &PipelineDesc<'_>) -> Result<Pipeline> {
        let made = self.pipelines(std::slice::from_ref(desc))?.pop();
        made.ok_or_else(|| Error::internal("device", "a shader without a pipeline"))
    }

    /// The compiled pipelines of several shaders. Those that are new are compiled side by side.
    ///
    /// # Errors
    /// [`Error::Shader`] with the compiler's message; [`Error::Internal`] on the native CPU.
    pub fn pipelines(&self, descs: &[PipelineDesc<'_>]) -> Result<Vec<Pipeline>> {
        match &self.0.backend {
            Backend::Gpu(gpu) => gpu.pipelines(descs),
            Backend::Host(_) => Err(Error::internal("device", "the native CPU compiles no shaders")),
        }
    }

    /// A number that kernels report to blame an op. The same op, place and kind of fault always get the same number;
    /// none is 0.
    pub fn fault_code(&self, op: &'static str, at: At, fault: Fault) -> u32 {
        let mut faults = lock(&self.0.faults);
        let entry = (op, at, fault);
        let place = faults.iter().position(|have| *have == entry).unwrap_or_else(|| {
            faults.push(entry);
            faults.len() - 1
        });
        place as u32 + 1
    }

    /// The error behind a fault that a kernel reported.
    pub(crate) fn fault(&self, code: u32, index: i32) -> Error {
        match lock(&self.0.faults).get(code as usize - 1) {
            Some(&(op, at, fault)) => fault.error(op, i64::from(index), at),
            None => Error::internal("device", format!("a kernel reported the unknown fault {code}")),
        }
    }

    /// Starts the stream of random keys over from a seed. The stream is one for all threads; see
    /// [`fork_rng`](Device::fork_rng) for one that no other thread draws from.
    pub fn seed(&self, seed: u64) {
        self.0.rng.set(RngState { seed, counter: 0 });
    }

    /// The next key: seed (low, high word), counter (low, high word).
    pub fn next_key(&self) -> [u32; 4] {
        self.0.rng.next_key()
    }

    /// The state of the stream of random keys.
    pub fn rng_state(&self) -> RngState {
        self.0.rng.state()
    }

    /// Continues a saved stream of random keys.
    pub fn set_rng_state(&self, state: RngState) {
        self.0.rng.set(state);
    }

    /// Gives this thread a stream of random keys of its own, from a seed on, until the guard is dropped.
    /// What the thread draws meanwhile neither depends on other threads nor moves the device's stream;
    /// [`seed`](Device::seed), [`rng_state`](Device::rng_state) and
    /// [`set_rng_state`](Device::set_rng_state) act on the thread's stream. Of several guards the youngest
    /// decides.
    ///
    /// ```
    /// use vorpal_tensor::Device;
    /// let device = Device::cpu();
    /// let before = device.rng_state();
    /// {
    ///     let _fork = device.fork_rng(7);
    ///     assert_eq!(device.next_key(), [7, 0, 0, 0]);
    /// }
    /// assert_eq!(device.rng_state(), before);
    /// ```
    pub fn fork_rng(&self, seed: u64) -> RngFork {
        RngFork::new(self, RngState { seed, counter: 0 })
    }

    /// Waits until all work handed to the device is done.
    ///
    /// # Errors
    /// What went wrong on the device since it was last asked.
    pub fn synchronize(&self) -> Result<()> {
        match &self.0.backend {
            Backend::Host(_) => Ok(()),
            Backend::Gpu(gpu) => gpu.synchronize(),
        }
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
impl Eq for Device {}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({})", self.0.info.selector)
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
