//! Keys and values of what was seen before.

use vorpal_autodiff::{At, DType, Tensor, Tensors};

use crate::layers::wrong;

/// Keys and values of the rows an attention has seen, for one row after the other. It has room for a fixed number of
/// rows, so that every step is the same program.
///
/// Evaluate it together with what was computed, or every step repeats those before.
///
/// ```
/// use vorpal_nn::{DType, Device, KvCache, MultiHeadAttention, Tensor, eval};
/// let layer = MultiHeadAttention::new(8, 2, &Device::cpu()).causal();
/// let x = Tensor::randn([1, 5, 8], DType::F32, &Device::cpu());
/// let mut cache = KvCache::new(16);
/// for t in 0..5 {
///     let row = layer.forward_cached(&x.narrow(1, t, 1), &mut cache);
///     eval(&(&row, &cache))?;
/// }
/// assert_eq!(cache.len(), 5);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct KvCache {
    /// Keys and values, `[batch, kv heads, capacity, columns]`.
    rows: Option<[Tensor; 2]>,
    len: usize,
    capacity: usize,
}

impl KvCache {
    /// Room for so many rows of each sequence.
    pub fn new(capacity: usize) -> KvCache {
        KvCache { rows: None, len: 0, capacity }
    }

    /// Rows seen.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no row was seen.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        *self = KvCache::new(self.capacity);
    }

    /// Number of rows seen, `I32` on the device of `like`, as a number the program does not depend on: the position of
    /// the next row.
    pub fn position(&self, like: &Tensor) -> Tensor {
        match like.device() {
            Ok(device) => Tensor::scalar(self.len as f64, DType::I32, &device),
            Err(_) => like.clone(),
        }
    }

    /// Goes on with other sequences: sequence k is what `rows[k]` was before, `[batch]` of integers. Beams that are
    /// dropped and doubled are such.
    pub fn reorder(&mut self, rows: &Tensor) {
        self.rows = self.rows.take().map(|both| both.map(|all| all.index_select(0, rows)));
    }

    /// Takes further rows of keys and values in, `[batch, kv heads, rows, columns]`: all there are with room behind
    /// them, `[batch, kv heads, capacity, columns]`, and how many count, `[batch]` of `I32`. Rows that do not fit are an
    /// error when the values are read.
    ///
    /// ```
    /// use vorpal_nn::{DType, Device, KvCache, Tensor};
    /// let row = Tensor::ones([1, 2, 1, 4], DType::F32, &Device::cpu());
    /// let mut cache = KvCache::new(8);
    /// let (keys, _values, count) = cache.append(&row, &row);
    /// assert_eq!((keys.shape(), count.to_vec::<i32>()?), ([1, 2, 8, 4].into(), vec![1]));
    /// # Ok::<(), vorpal_nn::Error>(())
    /// ```
    #[track_caller]
    pub fn append(&mut self, keys: &Tensor, values: &Tensor) -> (Tensor, Tensor, Tensor) {
        let (new, at) = ([keys, values], At::caller());
        let give_up = |wrong: Tensor| (wrong.clone(), wrong.clone(), wrong);
        let (shape, start) = (new[0].shape(), self.position(new[0]));
        let (Ok(device), 4) = (new[0].device(), shape.rank()) else { return give_up(new[0].clone()) };
        let (batch, count) = (shape[0], shape[2]);
        if count == 0 || self.len + count > self.capacity {
            let (len, capacity) = (self.len, self.capacity);
            let message = format!("{count} rows behind {len} do not fit into {capacity}");
            return give_up(wrong::argument("kv_cache", message, at));
        }
        // Row t of the cache comes from row t − start of what is new, where there is one.
        let place = Tensor::arange(self.capacity, DType::I32, &device) - &start;
        let inside = place.ge(place.full_like(0.0)).logical_and(place.lt(place.full_like(count as f64)));
        let (inside, place) = (inside.unsqueeze(-1), place.clamp(0, count as i32 - 1));
        let old = self.rows.clone();
        let put = |k: usize| {
            let rows = new[k].index_select(2, &place);
            let before = old.as_ref().map_or_else(|| rows.full_like(0.0), |old| old[k].clone());
            inside.select(rows, before)
        };
        let rows = [put(0), put(1)];
        self.len += count;
        self.rows = Some(rows.clone());
        let [keys, values] = rows;
        (keys, values, (start + count as i32).broadcast_to([batch]))
    }
}

impl Tensors for KvCache {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        self.rows.iter().flatten().for_each(f);
    }
}
