//! From a group of nodes to the fused program that one kernel evaluates.

use std::collections::BTreeMap;

use smallvec::SmallVec;
use vorpal_kernels::{Access, Arg, Domain, Epilogue, Inst, Program, Store, ValueId};
use vorpal_tensor::{DType, Error, Layout, Result};

use super::fuse::Group;
use super::ir::{Kind, Node, NodeId};
use super::reads::{Read, reads};

/// A fused program with the nodes behind its arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Fused {
    /// The program; argument numbers index `args`.
    pub program: Program,
    /// Buffers: what is read first, then what is written.
    pub args: Vec<Arg>,
    /// The node that lives in each buffer.
    pub nodes: Vec<NodeId>,
    /// dtypes of the run-time scalars, in the order the program numbers them.
    pub scalars: Vec<DType>,
    /// The graph's number of each run-time scalar.
    pub scalar_indices: Vec<usize>,
}

/// Writes the program of a group. `stored` are the members whose values are needed outside of it.
///
/// # Errors
/// [`Error::Internal`] when a member cannot be evaluated in this group: the fuser broke its promise.
pub fn lower(nodes: &[Node], group: &Group, stored: &[NodeId]) -> Result<Fused> {
    let mut lowering = Lowering {
        nodes,
        group,
        fused: Fused {
            program: Program::default(),
            args: Vec::new(),
            nodes: Vec::new(),
            scalars: Vec::new(),
            scalar_indices: Vec::new(),
        },
        values: BTreeMap::new(),
    };
    for &member in &group.members {
        lowering.member(member)?;
    }
    for &member in stored {
        let value = lowering.value_of(member)?;
        let arg = lowering.fused.args.len();
        let node = &nodes[member];
        lowering.fused.args.push(Arg::write(node.dtype, node.shape.numel()));
        lowering.fused.nodes.push(member);
        lowering.fused.program.stores.push(Store { value, arg });
    }
    Ok(lowering.fused)
}

impl Fused {
    /// The program as the epilogue of a kernel with `own` inputs, whose accumulators have dtype `acc`: results come
    /// first, and the first of them can hold the accumulators. Gives the nodes behind the further arguments, too.
    pub fn epilogue(self, own: usize, acc: DType) -> (Epilogue, Vec<NodeId>) {
        let Fused { mut program, args, nodes, scalars, .. } = self;
        let rank = |k: &usize| match args[*k].access {
            Access::Read => 2,
            _ if args[*k].dtype == acc => 0,
            _ => 1,
        };
        let mut order: Vec<usize> = (0..args.len()).collect();
        order.sort_by_key(rank);
        let place = |arg: usize| own + order.iter().position(|&k| k == arg).unwrap_or(0);
        program.renumber(place);
        let further = order.iter().map(|&k| args[k].clone()).collect();
        (Epilogue { program, args: further, scalars }, order.iter().map(|&k| nodes[k]).collect())
    }
}

struct Lowering<'a> {
    nodes: &'a [Node],
    group: &'a Group,
    fused: Fused,
    /// Instruction that computes each member.
    values: BTreeMap<NodeId, ValueId>,
}

impl Lowering<'_> {
    fn value_of(&self, member: NodeId) -> Result<ValueId> {
        let missing = || Error::internal("lowering", format!("node {member} is not computed in its group"));
        self.values.get(&member).copied().ok_or_else(missing)
    }

    fn member(&mut self, id: NodeId) -> Result<()> {
        let node = &self.nodes[id];
        if matches!(node.kind, Kind::Kernel { .. }) {
            let value = self.push(Inst::Acc { dtype: node.dtype });
            self.values.insert(id, value);
            return Ok(());
        }
        let operands = reads(self.nodes, id);
        let len = match &node.kind {
            Kind::Reduce { x, .. } => self.nodes[*x].shape.numel(),
            _ => node.shape.numel(),
        };
        let domain = self.domain(len)?;
        let mut args: SmallVec<[ValueId; 3]> = SmallVec::new();
        for read in &operands {
            args.push(self.operand(read, domain)?);
        }
        let is_loaded = |value: ValueId| matches!(self.fused.program.insts[value], Inst::Load { .. });
        let inst = match &node.kind {
            // A copy of what lies in memory.
            Kind::Cast { x }
                if self.nodes[*x].dtype == node.dtype && !node.dtype.is_16bit() && is_loaded(args[0]) =>
            {
                self.values.insert(id, args[0]);
                return Ok(());
            }
            Kind::Call { f, .. } => Inst::Call { f, args },
            Kind::Cast { .. } => Inst::Cast { x: args[0], dtype: node.dtype },
            Kind::Reduce { kind, .. } => Inst::Reduce { kind: *kind, x: args[0] },
            other => return Err(Error::internal("lowering", format!("{other:?} in a fused group"))),
        };
        let value = self.push(inst);
        self.values.insert(id, value);
        Ok(())
    }

    /// Which iteration a value of `len` elements belongs to.
    fn domain(&self, len: usize) -> Result<Domain> {
        if len == self.group.len {
            return Ok(Domain::Full);
        }
        match &self.group.rows {
            Some(rows) if rows.count() == len => Ok(Domain::Row),
            _ => Err(Error::internal("lowering", format!("{len} elements in a group of {}", self.group.len))),
        }
    }

    /// The same instruction twice is one value.
    fn push(&mut self, inst: Inst) -> ValueId {
        let insts = &mut self.fused.program.insts;
        insts.iter().position(|have| have == &inst).unwrap_or_else(|| {
            insts.push(inst);
            insts.len() - 1
        })
    }

    fn operand(&mut self, read: &Read, domain: Domain) -> Result<ValueId> {
        let node = &self.nodes[read.base];
        if let Some(&value) = self.values.get(&read.base) {
            return Ok(value);
        }
        Ok(match &node.kind {
            Kind::Const { value } => self.push(Inst::Const { value: *value, dtype: node.dtype }),
            Kind::Scalar { index } => {
                let index = self.scalar(*index, node.dtype);
                self.push(Inst::Scalar { index, dtype: node.dtype })
            }
            Kind::Place { layout } => self.push(Inst::Place { layout: layout.collapse(), domain }),
            _ => self.load(read, domain),
        })
    }

    fn scalar(&mut self, index: usize, dtype: DType) -> usize {
        let known = &mut self.fused.scalar_indices;
        known.iter().position(|&have| have == index).unwrap_or_else(|| {
            known.push(index);
            self.fused.scalars.push(dtype);
            known.len() - 1
        })
    }

    fn load(&mut self, read: &Read, domain: Domain) -> ValueId {
        let arg = self.fused.nodes.iter().position(|&have| have == read.base).unwrap_or_else(|| {
            let node = &self.nodes[read.base];
            self.fused.args.push(Arg::read(node.dtype, node.shape.numel()));
            self.fused.nodes.push(read.base);
            self.fused.nodes.len() - 1
        });
        let layout: Layout = read.layout.collapse();
        self.push(Inst::Load { arg, layout, fill: read.fill, domain })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fuse::{Fusion, fuse};
    use super::super::ir::Builder;
    use super::*;
    use vorpal_kernels::{ReduceKind, ResultType, ScalarFn, map2};
    use vorpal_tensor::Shape;

    static SUB: ScalarFn = ScalarFn {
        name: "sub",
        arity: 2,
        result: ResultType::Last,
        wgsl: "a - b",
        support: "",
        cpu: |a, o| map2(a, o, |x: f32, y: f32| x - y),
        flops: 1,
    };

    #[test]
    fn a_row_program_loads_once_and_keeps_domains_apart() {
        let mut b = Builder::new();
        let x = b.input(0, 35, DType::F32);
        let m = b.view(x, |l| l.reshape(&Shape::from([5, 7]))).expect("a view");
        let lr = b.scalar(3, DType::F32);
        let lr = b.view(lr, |l| Some(l.broadcast_to(&Shape::from([5, 1])))).expect("a scalar");
        let max = b.reduce(ReduceKind::Max, m, &[false, true]);
        let low = b.call(&SUB, &[max, lr]);
        let wide = b.view(low, |l| Some(l.broadcast_to(&Shape::from([5, 7])))).expect("a view");
        let y = b.call(&SUB, &[m, wide]);
        let groups = fuse(b.nodes(), &[y], Fusion::Adapter(8));
        let fused = lower(b.nodes(), &groups[0], &[y]).expect("a program");
        assert_eq!(fused.nodes, [x, y]);
        assert_eq!(fused.scalar_indices, [3]);
        let program = &fused.program;
        assert_eq!(program.insts.len(), 5, "load, max, scalar, two differences: {program:?}");
        use Domain::{Full, Row};
        assert_eq!(program.domains(), [Full, Row, Row, Row, Full]);
        assert_eq!(program.types(&fused.args), [DType::F32; 5]);
        assert!(program.reads_in_place(0, 35));
    }

    #[test]
    fn a_padded_operand_keeps_its_fill() {
        let mut b = Builder::new();
        let x = b.input(0, 3, DType::F32);
        let p = b.pad(x, &[1], &[1], 9.0).expect("a padded view");
        let y = b.call(&SUB, &[p, p]);
        let groups = fuse(b.nodes(), &[y], Fusion::Adapter(8));
        let fused = lower(b.nodes(), &groups[0], &[y]).expect("a program");
        let Inst::Load { fill, layout, .. } = &fused.program.insts[0] else { panic!("a load") };
        assert_eq!((*fill, layout.place(0), layout.place(1)), (9.0, None, Some(0)));
        assert!(!fused.program.reads_in_place(0, 5));
    }

    #[test]
    fn a_stranger_is_reported() {
        let mut b = Builder::new();
        let x = b.input(0, 3, DType::F32);
        let y = b.call(&SUB, &[x, x]);
        let group = Group { members: vec![y], rows: None, len: 4 };
        assert!(matches!(lower(b.nodes(), &group, &[y]), Err(Error::Internal { .. })));
    }
}
