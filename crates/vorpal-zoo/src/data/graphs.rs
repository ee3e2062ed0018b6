//! Graphs: social networks, all small graphs, papers that cite one another.

#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

use vorpal_nn::{Error, Result};

/// A graph without directions: how many nodes, which pairs are joined, and labels of the nodes or of the graph.
///
/// ```
/// use vorpal_zoo::data::Network;
/// let club = Network::karate()?;
/// assert_eq!((club.nodes, club.edges.len()), (34, 78));
/// // The instructor knows everyone by three handshakes.
/// assert_eq!(club.distances(&vec![1; 78], 0).iter().max(), Some(&3));
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Number of nodes.
    pub nodes: usize,
    /// Pairs of nodes, each once.
    pub edges: Vec<(usize, usize)>,
    /// Classes: of every node, or of the graph.
    pub labels: Vec<i32>,
}

const KARATE: &str = include_str!("../../data/graphs/karate.txt");
const MISERABLES: &str = include_str!("../../data/graphs/miserables.txt");
const ATLAS: &str = include_str!("../../data/graphs/atlas.txt");

/// The two numbers of a line.
fn pair(line: &str) -> Result<(usize, usize)> {
    let mut numbers = line.split(' ').map_while(|word| word.parse().ok());
    let wrong = || Error::format("the graph", format!("\"{line}\" is no edge"));
    Ok((numbers.next().ok_or_else(wrong)?, numbers.next().ok_or_else(wrong)?))
}

impl Network {
    /// A graph of `nodes` with `edges` and without labels.
    pub fn new(nodes: usize, edges: &[(usize, usize)]) -> Network {
        Network { nodes, edges: edges.to_vec(), labels: Vec::new() }
    }

    /// Zachary's karate club (1977): 34 members, 78 friendships, and on whose side everyone was when the club split:
    /// that of the instructor (0, node 0) or that of the administrator (1, node 33).
    ///
    /// # Errors
    /// None for the file that ships.
    pub fn karate() -> Result<Network> {
        let mut lines = KARATE.lines();
        let labels: Vec<i32> =
            lines.next().unwrap_or_default().bytes().map(|b| i32::from(b == b'1')).collect();
        Ok(Network { nodes: labels.len(), edges: lines.map(pair).collect::<Result<_>>()?, labels })
    }

    /// Who meets whom in Les Misérables (Knuth 1993): 77 people, 254 pairs; and their names.
    ///
    /// # Errors
    /// None for the file that ships.
    pub fn miserables() -> Result<(Network, Vec<&'static str>)> {
        let mut lines = MISERABLES.lines();
        let names: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        Ok((Network::new(names.len(), &lines.map(pair).collect::<Result<Vec<_>>>()?), names))
    }

    /// All 994 connected graphs of three to seven nodes (Read & Wilson 1998), each labelled 1 if it can be drawn in a
    /// plane without crossings.
    ///
    /// # Errors
    /// None for the file that ships.
    pub fn atlas() -> Result<Vec<Network>> {
        ATLAS.lines().map(Network::graph6).collect()
    }

    /// A graph and its label from McKay's graph6: the number of nodes, then the upper triangle of the matrix by columns, six
    /// bits a character.
    fn graph6(line: &str) -> Result<Network> {
        let wrong = || Error::format("the atlas", format!("\"{line}\" is no graph"));
        let (graph, label) = line.split_once(' ').ok_or_else(wrong)?;
        let mut words = graph.bytes().map(|b| usize::from(b.wrapping_sub(63)));
        let nodes = words.next().ok_or_else(wrong)?;
        let mut bits = words.flat_map(|word| (0..6).rev().map(move |k| word >> k & 1 == 1));
        let mut edges = Vec::new();
        for b in 1..nodes {
            for a in 0..b {
                if bits.next().ok_or_else(wrong)? {
                    edges.push((a, b));
                }
            }
        }
        Ok(Network { nodes, edges, labels: vec![label.parse().map_err(|_| wrong())?] })
    }

    /// The matrix of the graph, row by row.
    pub fn matrix(&self) -> Vec<f64> {
        let mut matrix = vec![0.0; self.nodes * self.nodes];
        for &(a, b) in &self.edges {
            matrix[a * self.nodes + b] = 1.0;
            matrix[b * self.nodes + a] = 1.0;
        }
        matrix
    }

    /// How many edges every node has.
    pub fn degrees(&self) -> Vec<usize> {
        let mut degrees = vec![0; self.nodes];
        for &(a, b) in &self.edges {
            degrees[a] += 1;
            degrees[b] += 1;
        }
        degrees
    }

    /// How many triples of nodes are all joined.
    pub fn triangles(&self) -> usize {
        let (n, matrix) = (self.nodes, self.matrix());
        let joined = |a: usize, b: usize| matrix[a * n + b] > 0.0;
        let corners = |&(a, b): &(usize, usize)| (0..n).filter(|&c| joined(a, c) && joined(b, c)).count();
        self.edges.iter().map(corners).sum::<usize>() / 3
    }

    /// How many trees hold all nodes together: a minor of the matrix of degrees less that of the graph (Kirchhoff 1847).
    pub fn spanning_trees(&self) -> f64 {
        let (n, mut rows) = (self.nodes, self.matrix());
        rows.iter_mut().for_each(|v| *v = -*v);
        self.degrees().iter().enumerate().for_each(|(v, &degree)| rows[v * n + v] = degree as f64);
        let mut product = 1.0;
        // The minor is positive definite where the graph hangs together: no pivots are looked for.
        for k in 1..n {
            let pivot = rows[k * n + k];
            if pivot.abs() < 1e-9 {
                return 0.0;
            }
            product *= pivot;
            for i in k + 1..n {
                let factor = rows[i * n + k] / pivot;
                (k..n).for_each(|j| rows[i * n + j] -= factor * rows[k * n + j]);
            }
        }
        product.round()
    }

    /// The length of the shortest way from node `from` to each, when edge k is `lengths[k]` long; `u32::MAX` where there
    /// is none (Bellman 1958).
    pub fn distances(&self, lengths: &[u32], from: usize) -> Vec<u32> {
        let mut far = vec![u32::MAX; self.nodes];
        if let Some(start) = far.get_mut(from) {
            *start = 0;
        }
        for _ in 0..self.nodes {
            for (&(a, b), &length) in self.edges.iter().zip(lengths) {
                far[a] = far[a].min(far[b].saturating_add(length));
                far[b] = far[b].min(far[a].saturating_add(length));
            }
        }
        far
    }

    /// For each node the probability that a walker who takes an edge at random `1..=steps` times is where it began:
    /// `[nodes, steps]` (Dwivedi et al. 2022).
    pub fn returns(&self, steps: usize) -> Vec<f32> {
        let (n, mut walk) = (self.nodes, self.matrix());
        for (row, degree) in walk.chunks_mut(n.max(1)).zip(self.degrees()) {
            row.iter_mut().for_each(|v| *v /= degree.max(1) as f64);
        }
        let (step, mut out) = (walk.clone(), vec![0.0; n * steps]);
        for k in 0..steps {
            (0..n).for_each(|v| out[v * steps + k] = walk[v * n + v] as f32);
            let product = |i: usize, j: usize| (0..n).map(|m| walk[i * n + m] * step[m * n + j]).sum();
            walk = (0..n * n).map(|at| product(at / n, at % n)).collect();
        }
        out
    }

    /// Every pair `a < b` that is not joined.
    pub fn strangers(&self) -> Vec<(usize, usize)> {
        let (n, matrix) = (self.nodes, self.matrix());
        let pairs = (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b)));
        pairs.filter(|&(a, b)| matrix[a * n + b] == 0.0).collect()
    }
}

/// Papers that cite one another, with the words they use: Cora (Sen et al. 2008) in the split of Yang et al. (2016).
#[derive(Clone, Debug)]
pub struct Citations {
    /// Which papers cite one another, and the field of each.
    pub network: Network,
    /// Which words each paper uses, each row of sum 1, `[papers, words]`.
    pub features: Vec<f32>,
    /// Number of words.
    pub words: usize,
    /// Papers whose field is told.
    pub train: Vec<i32>,
    /// Papers by which is decided when to stop.
    pub val: Vec<i32>,
    /// Papers whose field is asked for.
    pub test: Vec<i32>,
}

impl Citations {
    /// Reads an archive of NumPy with `features_indptr`, `features_indices`, `labels`, `edges` `[n, 2]`, `train`, `val`
    /// and `test`, all whole numbers.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read, [`Error::Format`] for one that holds something else.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn load(path: impl AsRef<Path>) -> Result<Citations> {
        let arrays = vorpal_nn::interop::load_npz(&path)?;
        let what = path.as_ref().display().to_string();
        let wrong = |message: &str| Error::format(what.clone(), message);
        let list = |name: &str| {
            let array = arrays.get(name).ok_or_else(|| wrong(&format!("there is no \"{name}\"")))?;
            array.cast(vorpal_nn::DType::I32)?.to_vec::<i32>()
        };
        let (starts, columns, labels) =
            (list("features_indptr")?, list("features_indices")?, list("labels")?);
        let papers = labels.len();
        let words = columns.iter().max().map_or(0, |&c| c.max(0) as usize + 1);
        let inside = |list: &[i32], below: usize| list.iter().all(|&v| v >= 0 && (v as usize) < below);
        let edges = list("edges")?;
        let (train, val, test) = (list("train")?, list("val")?, list("test")?);
        let of_papers = [&edges, &train, &val, &test].iter().all(|l| inside(l, papers));
        if starts.len() != papers + 1 || !of_papers || !inside(&starts, columns.len() + 1) {
            return Err(wrong("its numbers do not fit one another"));
        }
        let mut features = vec![0.0; papers * words];
        for (paper, range) in starts.windows(2).enumerate() {
            let used = columns.get(range[0] as usize..range[1] as usize).unwrap_or_default();
            used.iter().for_each(|&w| features[paper * words + w.max(0) as usize] = 1.0 / used.len() as f32);
        }
        let edges = edges.chunks_exact(2).map(|e| (e[0] as usize, e[1] as usize)).collect();
        Ok(Citations { network: Network { nodes: papers, edges, labels }, features, words, train, val, test })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ships_is_what_it_says() -> Result<()> {
        let atlas = Network::atlas()?;
        assert_eq!(atlas.len(), 994);
        assert!(atlas.iter().all(|g| g.distances(&vec![1; g.edges.len()], 0).iter().all(|&d| d < 7)));
        assert_eq!(atlas.iter().filter(|g| g.labels == [1]).count(), 773);
        // The last one joins all of seven nodes: 7 · 6 · 5 ∕ 6 triangles.
        assert_eq!(atlas[993].triangles(), 35);
        // Cayley: n^(n − 2) trees.
        assert_eq!(atlas[993].spanning_trees(), 16807.0);
        let (people, names) = Network::miserables()?;
        assert_eq!((people.edges.len(), names[10]), (254, "Valjean"));
        assert_eq!(people.strangers().len() + 254, 77 * 38);
        assert_eq!(Network::karate()?.labels.iter().sum::<i32>(), 17);
        Ok(())
    }

    #[test]
    fn walks_come_back() {
        let triangle = Network::new(3, &[(0, 1), (1, 2), (0, 2)]);
        assert_eq!(triangle.returns(3)[..3], [0.0, 0.5, 0.25]);
        let path = Network::new(3, &[(0, 1), (1, 2)]);
        assert_eq!(path.distances(&[2, 3], 0), [0, 2, 5]);
        assert_eq!((path.triangles(), path.spanning_trees(), triangle.spanning_trees()), (0, 1.0, 3.0));
    }
}
