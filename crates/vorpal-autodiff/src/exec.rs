//! The executor: everything asked for in one call is one plan, compiled once and replayed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use smallvec::SmallVec;
use vorpal_kernels::{Access, CpuArg, CpuRun};
use vorpal_tensor::{
    Binding, Buffer, DType, Device, Element, Error, Fault, Layout, PARAMS_BYTES, PipelineDesc, ReadGuard,
    Replay, Result, Step, WriteGuard,
};

use crate::compile::ir::{Builder, Target};
use crate::compile::plan::{Launch, Place, Plan, compile};
use crate::graph::{Node, Value};
use crate::{Key, Spec, Tensor, Tensors};

/// Plans kept. The least recently used one goes.
const PLANS_MAX: usize = 256;

/// Computes everything in `what` with one plan: one submit, whatever the number of tensors.
///
/// Evaluated tensors let go of the graph behind them.
///
/// ```
/// # use vorpal_autodiff::{Device, Tensor, eval};
/// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [3], &Device::cpu());
/// let (sum, exp) = (x.sum_all(), x.exp());
/// eval(&(&sum, &exp))?;
/// assert_eq!(sum.item::<f32>()?, 6.0);
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
///
/// # Errors
/// An error that one of the tensors carries, [`Error::Device`] for tensors of two devices,
/// [`Error::OutOfMemory`] before anything runs, or what went wrong on the device.
pub fn eval<T: Tensors + ?Sized>(what: &T) -> Result<()> {
    let roots = unevaluated(what)?;
    let mut by_device: Vec<(Device, Vec<Arc<Node>>)> = Vec::new();
    for root in roots {
        match by_device.iter_mut().find(|(device, _)| *device == root.device) {
            Some((_, list)) => list.push(root),
            None => by_device.push((root.device.clone(), vec![root])),
        }
    }
    by_device.into_iter().try_for_each(|(device, roots)| Job::collect(&roots).run(&device, &roots))
}

/// The plan that [`eval`] would make of `what` for a kind of device, without running it: which kernels, in which order,
/// with which shaders, over how much memory. Printed, it is a line a launch.
///
/// ```
/// # use vorpal_autodiff::{Device, Tensor, plan, compile::ir::Target};
/// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [1, 3], &Device::cpu());
/// let softmax = plan(&x.softmax(-1), Target::CARD)?;
/// assert_eq!(softmax.launches.len(), 1);
/// println!("{softmax}");
/// # Ok::<(), vorpal_autodiff::Error>(())
/// ```
///
/// # Errors
/// An error that one of the tensors carries.
pub fn plan<T: Tensors + ?Sized>(what: &T, target: Target) -> Result<Plan> {
    let roots = unevaluated(what)?;
    let job = Job::collect(&roots);
    job.compile(&job.positions(&roots), target)
}

/// The nodes of `what` that have no value yet, each once.
fn unevaluated<T: Tensors + ?Sized>(what: &T) -> Result<Vec<Arc<Node>>> {
    let mut roots: Vec<Arc<Node>> = Vec::new();
    let mut failed = None;
    what.visit(&mut |tensor| match tensor.ready() {
        Ok(node) => {
            if !node.is_evaluated() && !roots.iter().any(|have| Arc::ptr_eq(have, node)) {
                roots.push(node.clone());
            }
        }
        Err(error) => {
            failed.get_or_insert(error);
        }
    });
    failed.map_or(Ok(roots), Err)
}

/// What one evaluation needs to know of the graph.
struct Job {
    /// Nodes in topological order, evaluated ones (leaves) among them.
    order: Vec<Arc<Node>>,
    /// Values of the leaves; `None` for nodes to compute.
    values: Vec<Option<Value>>,
    /// Positions of the inputs of each node.
    inputs: Vec<Vec<usize>>,
    /// Distinct buffers of the leaves, and which leaf is which.
    buffers: Vec<Buffer>,
    buffer_of: Vec<usize>,
    /// Elements of each buffer that the leaves reach.
    lens: Vec<usize>,
    /// Which buffers may be overwritten.
    donated: Vec<bool>,
}

impl Job {
    fn collect(roots: &[Arc<Node>]) -> Job {
        let order = reachable(roots);
        let position: HashMap<u64, usize> = order.iter().enumerate().map(|(k, n)| (n.id, k)).collect();
        let values: Vec<Option<Value>> = order.iter().map(|n| n.value()).collect();
        let mut inputs: Vec<Vec<usize>> = Vec::with_capacity(order.len());
        for (node, value) in order.iter().zip(&values) {
            let mut list = Vec::new();
            if value.is_none() {
                node.each_input(|input| list.extend(position.get(&input.id)));
            }
            inputs.push(list);
        }
        let mut job = Job {
            order,
            values,
            inputs,
            buffers: Vec::new(),
            buffer_of: Vec::new(),
            lens: Vec::new(),
            donated: Vec::new(),
        };
        job.find_buffers(roots);
        job
    }

    /// Lists the buffers and decides which may be overwritten: those that nobody can ask for again once the
    /// roots are evaluated.
    fn find_buffers(&mut self, roots: &[Arc<Node>]) {
        let n = self.order.len();
        let mut used = vec![0usize; n];
        for list in &self.inputs {
            list.iter().for_each(|&k| used[k] += 1);
        }
        let is_root = |node: &Arc<Node>| roots.iter().any(|r| Arc::ptr_eq(r, node));
        let mut pinned = vec![false; n];
        for k in (0..n).rev() {
            let node = &self.order[k];
            // One handle is ours, some are the graph's; the rest is held by the world.
            let held = Arc::strong_count(node) > used[k] + 1;
            pinned[k] |= node.is_traced() || (held && !is_root(node));
            if pinned[k] {
                for input in self.inputs[k].clone() {
                    pinned[input] = true;
                }
            }
        }
        for (value, &pinned) in self.values.iter().zip(&pinned) {
            let Some(value) = value else {
                self.buffer_of.push(usize::MAX);
                continue;
            };
            let id = value.buffer.id();
            match self.buffers.iter().position(|b| b.id() == id) {
                Some(known) => {
                    self.buffer_of.push(known);
                    self.donated[known] = false;
                    self.lens[known] = self.lens[known].max(value.layout.span());
                }
                None => {
                    self.buffer_of.push(self.buffers.len());
                    self.lens.push(value.layout.span());
                    // Held by the node and by the copy of its value here, and no one else.
                    self.donated.push(!pinned && value.buffer.holders() == 2);
                    self.buffers.push(value.buffer.clone());
                }
            }
        }
    }

    /// Identity of the graph: equal keys, equal plans.
    fn key(&self, roots: &[usize]) -> Key {
        let mut key = Key::default();
        key.push(usize::from(fusion()));
        for (k, node) in self.order.iter().enumerate() {
            key.push(node.spec.dtype as usize);
            key.push_list(&node.spec.shape);
            match &self.values[k] {
                Some(value) => {
                    key.push(1usize);
                    let buffer = self.buffer_of[k];
                    key.push_list(&[buffer, self.lens[buffer], usize::from(self.donated[buffer])]);
                    value.layout.strides.iter().for_each(|&s| key.push_signed(s));
                    key.push_signed(value.layout.offset);
                    value.layout.bounds.iter().for_each(|&(lo, hi)| key.push_list(&[lo, hi]));
                }
                None => {
                    key.push(2usize);
                    key.push_text(node.op.name());
                    node.op.attributes(&mut key);
                    key.push_list(&self.inputs[k]);
                }
            }
        }
        key.push_list(roots);
        key
    }

    /// Where nodes stand in the order.
    fn positions(&self, nodes: &[Arc<Node>]) -> Vec<usize> {
        let place = |r: &Arc<Node>| self.order.iter().position(|n| Arc::ptr_eq(n, r)).unwrap_or(usize::MAX);
        nodes.iter().map(place).collect()
    }

    fn compile(&self, roots: &[usize], target: Target) -> Result<Plan> {
        let mut builder = Builder::new();
        builder.target = target;
        let (mut ids, mut scalars) = (Vec::with_capacity(self.order.len()), 0);
        let mut declared: Vec<Option<usize>> = vec![None; self.buffers.len()];
        for (k, node) in self.order.iter().enumerate() {
            let id = match &self.values[k] {
                Some(value) => {
                    let (index, dtype) = (self.buffer_of[k], node.spec.dtype);
                    let len = self.lens[index];
                    let base = *declared[index].get_or_insert_with(|| builder.input(index, len, dtype));
                    if builder.dtype(base) != dtype {
                        return Err(Error::internal("executor", "one buffer with two dtypes"));
                    }
                    builder.view(base, |_| Some(value.layout.clone()))?
                }
                None => {
                    builder.origin = k;
                    let own: Vec<usize> = node
                        .op
                        .scalars()
                        .iter()
                        .map(|&(_, dtype)| {
                            scalars += 1;
                            builder.scalar(scalars - 1, dtype)
                        })
                        .collect();
                    let operands: Vec<usize> = self.inputs[k].iter().map(|&i| ids[i]).collect();
                    node.op.lower(&mut builder, &operands, &own)?
                }
            };
            let (shape, dtype) = (builder.shape(id), builder.dtype(id));
            if (shape, dtype) != (&node.spec.shape, node.spec.dtype) {
                let found = Spec::new(shape.clone(), dtype);
                let message = format!("{} was lowered to {found}, expected {}", node.op.name(), node.spec);
                return Err(Error::internal("executor", message));
            }
            ids.push(id);
        }
        let roots: Vec<usize> = roots.iter().map(|&r| ids[r]).collect();
        compile(builder, &roots, &self.donated, fusion())
    }

    fn run(self, device: &Device, roots: &[Arc<Node>]) -> Result<()> {
        let positions = self.positions(roots);
        let make = || self.compile(&positions, Target::of(device.info()));
        let prepared = prepared(device, self.key(&positions), make)?;
        let plan = &prepared.plan;
        device.check_room(0)?;
        let mut slots = Vec::with_capacity(plan.slots.len());
        for &bytes in &plan.slots {
            slots.push(device.alloc(bytes)?);
        }
        let scalars: Vec<f64> = self
            .order
            .iter()
            .zip(&self.values)
            .filter(|(_, value)| value.is_none())
            .flat_map(|(node, _)| node.op.scalars())
            .map(|(value, _)| value)
            .collect();
        let buffer = |place: Place| match place {
            Place::Input(index) => &self.buffers[index],
            Place::Slot(slot) => &slots[slot],
        };
        match &prepared.replay {
            Some(replay) => {
                let params = self.params(device, plan, &scalars);
                let table: Vec<Buffer> = slots.iter().chain(&self.buffers).cloned().collect();
                replay.lock().unwrap_or_else(PoisonError::into_inner).run(&table, &params)?;
            }
            None => {
                device.count_submit();
                for launch in &plan.launches {
                    let own: Vec<f64> = launch.scalars.iter().map(|&k| scalars[k]).collect();
                    let bound: Vec<&Buffer> = launch.buffers.iter().map(|&p| buffer(p)).collect();
                    let blame = launch.origin.map(|k| (self.order[k].op.name(), self.order[k].at));
                    run_native(launch, &bound, &own, blame)?;
                }
            }
        }
        for (root, output) in roots.iter().zip(&plan.outputs) {
            let buffer = buffer(output.place).clone();
            root.evaluated(Value { buffer, layout: output.layout.clone() });
        }
        Ok(())
    }

    /// Run-time scalars of all launches, each in a block of its own.
    fn params(&self, device: &Device, plan: &Plan, scalars: &[f64]) -> Vec<u8> {
        let mut out = Vec::new();
        for launch in &plan.launches {
            let dtypes = launch.kernel.scalars();
            if dtypes.is_empty() {
                continue;
            }
            let start = out.len();
            out.resize(start + PARAMS_BYTES, 0);
            let code = launch.origin.map(|k| {
                let specs: Vec<Spec> = self.inputs[k].iter().map(|&i| self.order[i].spec.clone()).collect();
                let node = &self.order[k];
                let index = || Fault::Index { size: node.op.indexed_axis(&specs).unwrap_or(0) };
                let fault = launch.kernel.fault().unwrap_or_else(index);
                f64::from(device.fault_code(node.op.name(), node.at, fault))
            });
            let values = launch.scalars.iter().map(|&k| scalars[k]).chain(code);
            for (k, (value, dtype)) in values.zip(dtypes).enumerate() {
                let word = match dtype.compute() {
                    DType::I32 => (value as i32).to_le_bytes(),
                    DType::U32 | DType::Bool => (value as u32).to_le_bytes(),
                    _ => (value as f32).to_le_bytes(),
                };
                out[start + 4 * k..start + 4 * k + 4].copy_from_slice(&word);
            }
        }
        out
    }
}

/// Whether kernels are fused; `VORPAL_FUSE=off` turns it off, to find out whether fusion is to blame.
fn fusion() -> bool {
    std::env::var_os("VORPAL_FUSE").is_none_or(|v| v != "off")
}

/// Nodes behind the roots in topological order; evaluated nodes end the way. The order follows from the structure
/// of the graph alone, whatever was made first: equal graphs are one plan.
fn reachable(roots: &[Arc<Node>]) -> Vec<Arc<Node>> {
    let mut seen = std::collections::HashSet::new();
    let mut order = Vec::new();
    // Nodes on the way down, and on the way back up once all their inputs are in the order.
    let mut pending: Vec<(Arc<Node>, bool)> = roots.iter().rev().map(|r| (r.clone(), false)).collect();
    while let Some((node, inputs_done)) = pending.pop() {
        if inputs_done {
            order.push(node);
        } else if seen.insert(node.id) {
            let inputs = if node.is_evaluated() { SmallVec::new() } else { node.inputs() };
            pending.push((node, true));
            pending.extend(inputs.into_iter().rev().map(|input| (input, false)));
        }
    }
    order
}

fn run_native(
    launch: &Launch,
    buffers: &[&Buffer],
    scalars: &[f64],
    blame: Option<(&'static str, vorpal_tensor::At)>,
) -> Result<()> {
    enum Guard<'a> {
        Read(ReadGuard<'a>),
        Write(WriteGuard<'a>),
    }
    let args = launch.kernel.args();
    let mut guards = Vec::with_capacity(args.len());
    for (arg, buffer) in args.iter().zip(buffers) {
        guards.push(match arg.access {
            Access::Read => Guard::Read(buffer.read()?),
            Access::Write | Access::ReadWrite => Guard::Write(buffer.write()?),
        });
    }
    let short =
        || Error::internal("executor", format!("{} got a buffer too short", launch.kernel.describe()));
    let mut slices = Vec::with_capacity(args.len());
    for (guard, arg) in guards.iter_mut().zip(&args) {
        let bytes = arg.dtype.bytes(arg.len);
        slices.push(match guard {
            Guard::Read(guard) => CpuArg::Read(guard.get(..bytes).ok_or_else(short)?),
            Guard::Write(guard) => CpuArg::Write(guard.get_mut(..bytes).ok_or_else(short)?),
        });
    }
    launch.kernel.run_cpu(CpuRun::new(slices, scalars, blame))
}

/// A plan ready to run.
struct Prepared {
    plan: Plan,
    /// `None` on the native CPU.
    replay: Option<Mutex<Replay>>,
}

/// Plans by device and graph, with the time of their last use.
type Cache = HashMap<(String, Key), (u64, Arc<Prepared>)>;

fn cache() -> &'static Mutex<(u64, Cache)> {
    static CACHE: std::sync::OnceLock<Mutex<(u64, Cache)>> = std::sync::OnceLock::new();
    CACHE.get_or_init(Mutex::default)
}

fn prepared(device: &Device, key: Key, make: impl FnOnce() -> Result<Plan>) -> Result<Arc<Prepared>> {
    let key = (device.info().selector.clone(), key);
    {
        let mut cache = cache().lock().unwrap_or_else(PoisonError::into_inner);
        cache.0 += 1;
        let now = cache.0;
        if let Some((used, known)) = cache.1.get_mut(&key) {
            *used = now;
            return Ok(known.clone());
        }
    }
    let plan = make()?;
    let replay = if device.is_cpu() { None } else { Some(Mutex::new(replay(device, &plan)?)) };
    device.count_plan();
    let made = Arc::new(Prepared { plan, replay });
    let mut cache = cache().lock().unwrap_or_else(PoisonError::into_inner);
    let now = cache.0;
    if cache.1.len() >= PLANS_MAX
        && let Some(oldest) = cache.1.iter().min_by_key(|(_, (used, _))| *used).map(|(k, _)| k.clone())
    {
        cache.1.remove(&oldest);
    }
    cache.1.insert(key, (now, made.clone()));
    Ok(made)
}

/// Pipelines and bindings of a plan.
fn replay(device: &Device, plan: &Plan) -> Result<Replay> {
    let (mut steps, mut params) = (Vec::with_capacity(plan.launches.len()), 0u32);
    for launch in &plan.launches {
        let kernel = &launch.kernel;
        let (args, has_scalars) = (kernel.args(), !kernel.scalars().is_empty());
        let storage = |a: &vorpal_kernels::Arg| {
            if a.access == Access::Read { Binding::StorageRead } else { Binding::StorageWrite }
        };
        let mut bindings: Vec<Binding> = args.iter().map(storage).collect();
        bindings.extend(has_scalars.then_some(Binding::Uniform));
        bindings.extend(kernel.checks_indices().then_some(Binding::StorageWrite));
        let shader = kernel.shader()?;
        let pipeline = device.pipeline(&PipelineDesc {
            kernel: kernel.name(),
            source: &shader.source,
            constants: &shader.constants,
            bindings: &bindings,
        })?;
        steps.push(Step {
            pipeline,
            buffers: launch.buffers.iter().map(|p| table_index(*p, plan)).collect(),
            writes: args.iter().map(|a| a.access != Access::Read).collect(),
            groups: kernel.groups(),
            params: has_scalars.then_some(params),
            fault: kernel.checks_indices(),
        });
        params += if has_scalars { PARAMS_BYTES as u32 } else { 0 };
    }
    Replay::new(device, steps, params as usize)
}

/// Slots come first in the table, inputs behind them.
fn table_index(place: Place, plan: &Plan) -> usize {
    match place {
        Place::Slot(slot) => slot,
        Place::Input(index) => plan.slots.len() + index,
    }
}

impl Tensor {
    /// Computes the value now. Without this it happens when the value is first asked for.
    ///
    /// # Errors
    /// As [`eval`].
    pub fn eval(&self) -> Result<()> {
        eval(self)
    }

    /// The elements in row-major order, without blocking where the device answers later.
    ///
    /// # Errors
    /// As [`Tensor::to_vec`].
    #[track_caller]
    pub fn to_vec_async<T: Element>(&self) -> impl Future<Output = Result<Vec<T>>> {
        let at = vorpal_tensor::At::caller();
        let tensor = self.clone();
        async move {
            let spec = tensor.ready()?.spec.clone();
            if spec.dtype != T::DTYPE {
                return Err(Error::DType {
                    op: "to_vec",
                    message: format!("asked for {}, found {}", T::DTYPE, spec.dtype),
                    operands: spec.to_string(),
                    at,
                });
            }
            let bytes = tensor.bytes_async().await?;
            let stored: Vec<T::Stored> = bytemuck::pod_collect_to_vec(&bytes);
            Ok(stored.into_iter().map(T::from_stored).collect())
        }
    }

    /// The stored bytes of the elements in row-major order.
    async fn bytes_async(&self) -> Result<Vec<u8>> {
        let wanted = self.ready()?.spec.clone();
        self.eval()?;
        let value = self.value()?;
        let n = wanted.shape.numel() * wanted.dtype.size();
        let gapless = Layout::contiguous(wanted.shape.clone());
        let whole =
            value.layout == gapless && value.buffer.bytes() == wanted.dtype.bytes(wanted.shape.numel());
        let value = if whole {
            value
        } else {
            let copy = Tensor::apply(crate::ops::Copy, &[self], self.ready()?.at);
            copy.eval()?;
            copy.value()?
        };
        let mut bytes = value.buffer.download_async().await?;
        bytes.truncate(n);
        Ok(bytes)
    }

    /// The same value without the graph behind it.
    ///
    /// # Errors
    /// As [`eval`].
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn detached(&self) -> Result<Tensor> {
        self.eval()?;
        let (node, value) = (self.ready()?, self.value()?);
        Ok(Tensor::leaf(crate::ops::Given, node.spec.clone(), &node.device, Some(value), node.at))
    }

    fn value(&self) -> Result<Value> {
        self.ready()?.value().ok_or_else(|| Error::internal("executor", "an evaluated tensor has no value"))
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// [`Error::DType`] when `T` is not the tensor's dtype, else as [`eval`].
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        pollster::block_on(self.to_vec_async())
    }

    /// The stored bytes of the elements in row-major order: little endian, `Bool` as 32-bit words.
    ///
    /// # Errors
    /// As [`eval`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        pollster::block_on(self.bytes_async())
    }

    /// The one element of a tensor with one element.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are more or none, else as [`Tensor::to_vec`].
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn item<T: Element>(&self) -> Result<T> {
        let at = vorpal_tensor::At::caller();
        let values = self.to_vec::<T>()?;
        match values[..] {
            [value] => Ok(value),
            _ => Err(crate::ops::shape_error(
                "item",
                format!("{} elements, not one", values.len()),
                &[self],
                at,
            )),
        }
    }

    /// The values on another device.
    #[cfg(not(target_arch = "wasm32"))]
    #[track_caller]
    pub fn to_device(&self, device: &Device) -> Tensor {
        match self.ready() {
            Ok(node) if node.device == *device => self.clone(),
            Ok(node) => match self.to_bytes() {
                Ok(bytes) => Tensor::from_bytes(&bytes, node.spec.shape.clone(), node.spec.dtype, device),
                Err(error) => Tensor::error(error),
            },
            Err(_) => self.clone(),
        }
    }
}
