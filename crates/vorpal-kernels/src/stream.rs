//! Results larger than the caches, written past them.
//!
//! A store into memory that is not in a cache reads the whole line first, to throw it away, and drives out what will be
//! read again. Results too large to be found in a cache later are made block by block in the first cache and written from
//! there by stores that do neither; meanwhile what the next block reads is called for. So it is, with what this block writes,
//! during steps that compute more than they move.

/// Bytes of a result from which on it is not found in the last cache later: more than most processors have there, and than a
/// core's part of one that many share.
pub(crate) fn large() -> usize {
    (gemm_common::cache::CACHE_INFO[2].cache_bytes / 4).max(16 << 20)
}

/// Elements of a line of the caches.
pub(crate) const LINE: usize = 16;

/// What is read or written after a step that computes more than it moves: called for line by line while it does. All of it at
/// once would wait for the memory.
#[derive(Debug)]
pub(crate) struct Ahead<'a>([std::slice::Chunks<'a, f32>; 2]);

impl<'a> Ahead<'a> {
    pub fn new(stretches: [&'a [f32]; 2]) -> Ahead<'a> {
        Ahead(stretches.map(|stretch| stretch.chunks(LINE)))
    }

    /// Calls for the next line of each.
    #[inline(always)]
    pub fn call(&mut self) {
        self.0.iter_mut().filter_map(Iterator::next).for_each(call_for);
    }
}

/// Copies `values` into memory past the caches, and calls for `ahead`, which will be read soon.
///
/// # Panics
/// Where the lengths of `out` and `values` differ, as [`copy_from_slice`](slice::copy_from_slice) does.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[allow(unsafe_code)]
pub(crate) fn stream(out: &mut [f32], values: &[f32], ahead: &[f32]) {
    use std::arch::x86_64::{_mm_loadu_ps, _mm_sfence, _mm_stream_ps};
    assert_eq!(out.len(), values.len());
    let head = out.as_ptr().align_offset(16).min(out.len());
    let (out_head, out) = out.split_at_mut(head);
    let (values_head, values) = values.split_at(head);
    out_head.copy_from_slice(values_head);
    let (out, out_rest) = out.as_chunks_mut::<LINE>();
    let (values, values_rest) = values.as_chunks::<LINE>();
    out_rest.copy_from_slice(values_rest);
    let mut ahead = Ahead::new([ahead, &[]]);
    for (out, value) in out.iter_mut().zip(values) {
        ahead.call();
        for (out, value) in out.as_chunks_mut::<4>().0.iter_mut().zip(value.as_chunks::<4>().0) {
            // SAFETY: both are four floats, `out` is borrowed to be written, and it starts at a multiple of 16 bytes, as what
            // stands before such a place was cut. The fence below orders these stores before whatever tells others of them.
            unsafe { _mm_stream_ps(out.as_mut_ptr(), _mm_loadu_ps(value.as_ptr())) };
        }
    }
    // SAFETY: every x86-64 has it, and it touches no memory.
    unsafe { _mm_sfence() };
}

/// Calls for what will be read soon.
#[inline(always)]
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[allow(unsafe_code)]
pub(crate) fn call_for<T>(next: &[T]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    for next in next.iter().step_by(LINE) {
        // SAFETY: a processor is told an address; nothing is read that a program could see.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(next).cast()) };
    }
}

/// Calls for nothing: this processor finds out by itself.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(crate) fn call_for<T>(_next: &[T]) {}

/// Copies `values`: this processor has no other way.
///
/// # Panics
/// Where the lengths of `out` and `values` differ.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(crate) fn stream(out: &mut [f32], values: &[f32], _ahead: &[f32]) {
    out.copy_from_slice(values);
}

#[cfg(test)]
mod tests {
    use super::stream;

    #[test]
    fn what_is_streamed_is_copied_wherever_it_starts() {
        let values: Vec<f32> = (0..300).map(|k| k as f32).collect();
        for (from, to, ahead) in
            [(0, 0, 0), (0, 300, 300), (1, 300, 7), (3, 99, 1000), (5, 6, 16), (2, 290, 64)]
        {
            let (mut out, ahead) = (vec![-1.0; 300], vec![0.0; ahead]);
            stream(&mut out[from..to], &values[from..to], &ahead);
            let expected = |k: usize| if (from..to).contains(&k) { k as f32 } else { -1.0 };
            assert!(out.iter().enumerate().all(|(k, &v)| v == expected(k)), "{from}..{to}");
        }
    }
}
