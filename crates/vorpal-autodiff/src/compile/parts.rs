//! Tensors joined where their parts are made: a launch whose only work is to copy is dropped.

use std::collections::{HashMap, HashSet};

use vorpal_kernels::{Arg, Part, Stretch};

use super::ir::{Node, NodeId};
use super::plan::Draft;

/// Lets the launch that makes the last part of a joined tensor store all parts where they belong, as long as it binds no more
/// than `buffers`. `targets` are the values that must be there in the end.
pub(super) fn join_where_made(nodes: &[Node], drafts: &mut Vec<Draft>, targets: &[NodeId], buffers: usize) {
    if drafts.iter().all(|draft| draft.kernel.copies().is_none()) {
        return;
    }
    let (mut writer, mut readers) = (HashMap::<NodeId, usize>::new(), HashMap::<NodeId, usize>::new());
    for (k, draft) in drafts.iter().enumerate() {
        for (&node, written) in draft.nodes.iter().zip(draft.written()) {
            if written {
                writer.insert(node, k);
            } else {
                *readers.entry(node).or_default() += 1;
            }
        }
    }
    let targets: HashSet<NodeId> = targets.iter().copied().collect();
    let mut dropped = HashSet::new();
    for join in 0..drafts.len() {
        let Some(stretches) = drafts[join].kernel.copies() else { continue };
        let Some((&whole, parts)) = drafts[join].nodes.split_last() else { continue };
        let Some(&maker) = parts.iter().filter_map(|part| writer.get(part)).max() else { continue };
        let (made, len) = (&drafts[maker], nodes[whole].shape.numel());
        // A part may be the beginning of something longer.
        let all = |(part, stretch): (&NodeId, &Stretch)| {
            nodes[*part].shape.numel() * stretch.pitch == len * stretch.run
        };
        if !parts.iter().zip(&stretches).all(all) {
            continue;
        }
        let find = |part: &NodeId| match made.nodes.iter().position(|node| node == part) {
            Some(arg) if writer.get(part) == Some(&maker) => {
                let alone = readers.get(part) == Some(&1) && !targets.contains(part);
                if alone { Part::Moved(arg) } else { Part::Copied(arg) }
            }
            _ => Part::There,
        };
        let places: Vec<(Part, Stretch)> = parts.iter().map(find).zip(stretches).collect();
        let joined = Arg::write(nodes[whole].dtype, len);
        let Some(kernel) = made.kernel.scattered(&places, joined) else { continue };
        if kernel.args().len() > buffers {
            continue;
        }
        let moved = |k: usize| places.iter().any(|place| place.0 == Part::Moved(k));
        let mut bound: Vec<NodeId> =
            (0..made.nodes.len()).filter(|&k| !moved(k)).map(|k| made.nodes[k]).collect();
        bound.extend(places.iter().zip(parts).filter(|(place, _)| place.0 == Part::There).map(|(_, &n)| n));
        bound.push(whole);
        (drafts[maker].kernel, drafts[maker].nodes) = (kernel, bound);
        writer.insert(whole, maker);
        dropped.insert(join);
    }
    let mut place = 0;
    drafts.retain(|_| {
        place += 1;
        !dropped.contains(&(place - 1))
    });
}

#[cfg(test)]
mod tests {
    use crate::compile::ir::Target;
    use crate::{DType, Device, Tensor, plan};

    /// How many launches it takes to join three functions of a matrix, of which `asked` tells what else is wanted, for an
    /// adapter and natively.
    fn launches(columns: usize, asked: impl Fn(&[Tensor; 3], &Tensor) -> Vec<Tensor>) -> [usize; 2] {
        let x = Tensor::from_slice(&vec![0.5f32; 8 * columns], [8, columns], &Device::cpu());
        [Target::SOFTWARE, Target::NATIVE].map(|target| {
            let y = x.square();
            let parts = [y.exp(), y.tanh(), &y * 2.0];
            let joined = Tensor::concat(&[&parts[0], &parts[1], &parts[2]], 1);
            plan(&asked(&parts, &joined), target).expect("a plan").launches.len()
        })
    }

    #[test]
    fn what_one_launch_makes_it_stores_where_it_belongs() {
        assert_eq!(launches(64, |_, joined| vec![joined.clone()]), [1, 2]);
        // The sum of all rows reads what is joined.
        assert_eq!(launches(64, |_, joined| vec![joined.sum(0)]), [2, 3]);
        // A part that someone asks for is there by itself, too, and one that is there is copied.
        assert_eq!(launches(64, |parts, joined| vec![joined.clone(), parts[1].clone()]), [1, 2]);
        let given = Tensor::from_slice(&[0.5f32; 8 * 64], [8, 64], &Device::cpu());
        let join = |a: &Tensor, b: &Tensor| vec![Tensor::concat(&[a, b, &given], 1)];
        assert_eq!(launches(64, |parts, _| join(&parts[0], &parts[1])), [1, 2]);
        // Parts of other widths are elements of another launch.
        let wide = Tensor::from_slice(&[0.5f32; 8 * 68], [8, 68], &Device::cpu());
        let join = |a: &Tensor, b: &Tensor| vec![Tensor::concat(&[a, b, &wide], 1)];
        assert_eq!(launches(64, |parts, _| join(&parts[0], &parts[1])), [2, 2]);
        // Fours of elements do not fit.
        assert_eq!(launches(65, |_, joined| vec![joined.clone()]), [1, 2]);
        assert_eq!(launches(1025, |_, joined| vec![joined.clone()]), [2, 2]);
    }

    #[test]
    fn what_is_apart_is_made_by_one_launch() {
        let part = |n: f32| Tensor::from_slice(&[n; 8 * 64], [8, 64], &Device::cpu());
        let count = |parts: &[Tensor; 3]| {
            let joined = Tensor::concat(&[&parts[0], &parts[1], &parts[2]], 1);
            plan(&joined, Target::SOFTWARE).expect("a plan").launches.len()
        };
        let [x, y, z] = [1.0, 2.0, 3.0].map(part);
        assert_eq!(count(&[x.exp(), y.tanh(), &z * 2.0]), 1);
        // Kernels of their own stay so, wherever they stand.
        for k in 0..3 {
            let mut parts = [x.exp(), y.tanh(), z.sin()];
            parts[k] = x.cumsum(0);
            assert!(count(&parts) <= 3);
            let plan = plan(&Tensor::concat(&parts.each_ref(), 1), Target::SOFTWARE).expect("a plan");
            assert!(plan.launches.iter().any(|l| l.kernel.name().contains("scan")), "{plan}");
        }
        // Parts that share an operand are one already.
        assert_eq!(count(&[x.exp(), y.square().tanh(), y.square().exp()]), 1);
        // One made of another through a reduction.
        let mean = &x.exp() - x.exp().mean_keepdim(-1);
        assert_eq!(count(&[x.exp(), mean, &z * 2.0]), 2);
    }

    #[test]
    fn halves_are_whole_words() {
        let x = Tensor::from_slice(&[0.5f32; 8 * 64], [8, 64], &Device::cpu()).cast(DType::F16);
        let y = x.square();
        let parts = [y.exp(), y.tanh(), &y * 2.0];
        let joined = Tensor::concat(&[&parts[0], &parts[1], &parts[2]], 1);
        assert_eq!(plan(&joined, Target::SOFTWARE).expect("a plan").launches.len(), 1);
    }
}
