//! Structures of tensors: what can be evaluated, and what can be differentiated.

use vorpal_tensor::Result;

use crate::Tensor;

/// Anything that holds tensors: what [`eval`](crate::eval) takes.
pub trait Tensors {
    /// Calls `f` with every tensor.
    fn visit(&self, f: &mut dyn FnMut(&Tensor));
}

/// A structure of tensors that can be made again with others in their places: what derivatives are taken
/// with respect to.
pub trait Tree: Tensors {
    /// The same structure with `f` of every tensor.
    #[must_use]
    fn map(&self, f: &mut dyn FnMut(&Tensor) -> Tensor) -> Self;
}

/// What functions given to [`jvp`](crate::jvp), [`linearize`](crate::linearize) and [`vmap`](crate::vmap) may return: a
/// structure of tensors, or a [`Result`] of one.
pub trait IntoTree {
    /// The structure.
    type Tree: Tree;

    /// The structure.
    ///
    /// # Errors
    /// That of a result.
    fn into_tree(self) -> Result<Self::Tree>;
}

impl<T: Tree> IntoTree for T {
    type Tree = T;
    fn into_tree(self) -> Result<T> {
        Ok(self)
    }
}
impl<T: Tree> IntoTree for Result<T> {
    type Tree = T;
    fn into_tree(self) -> Result<T> {
        self
    }
}

impl Tensors for Tensor {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        f(self);
    }
}
impl Tree for Tensor {
    fn map(&self, f: &mut dyn FnMut(&Tensor) -> Tensor) -> Tensor {
        f(self)
    }
}

impl<T: Tensors + ?Sized> Tensors for &T {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        (**self).visit(f);
    }
}

impl<T: Tensors> Tensors for [T] {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        self.iter().for_each(|x| x.visit(f));
    }
}
impl<T: Tensors> Tensors for Vec<T> {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        self.as_slice().visit(f);
    }
}
impl<T: Tree> Tree for Vec<T> {
    fn map(&self, f: &mut dyn FnMut(&Tensor) -> Tensor) -> Vec<T> {
        self.iter().map(|x| x.map(f)).collect()
    }
}
impl<T: Tensors> Tensors for Option<T> {
    fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
        if let Some(x) = self {
            x.visit(f);
        }
    }
}
impl<T: Tree> Tree for Option<T> {
    fn map(&self, f: &mut dyn FnMut(&Tensor) -> Tensor) -> Option<T> {
        self.as_ref().map(|x| x.map(f))
    }
}

macro_rules! tuples {
    ($(($($name:ident $place:tt),+))*) => {$(
        impl<$($name: Tensors),+> Tensors for ($($name,)+) {
            fn visit(&self, f: &mut dyn FnMut(&Tensor)) {
                $(self.$place.visit(f);)+
            }
        }
        impl<$($name: Tree),+> Tree for ($($name,)+) {
            fn map(&self, f: &mut dyn FnMut(&Tensor) -> Tensor) -> Self {
                ($(self.$place.map(f),)+)
            }
        }
    )*};
}
tuples! { (A 0) (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) (A 0, B 1, C 2, D 3, E 4) }

macro_rules! plain {
    ($($ty:ty),*) => {$(
        impl Tensors for $ty {
            fn visit(&self, _: &mut dyn FnMut(&Tensor)) {}
        }
        impl Tree for $ty {
            fn map(&self, _: &mut dyn FnMut(&Tensor) -> Tensor) -> $ty {
                *self
            }
        }
    )*};
}
plain!((), bool, usize, u32, i32, f32, f64);
