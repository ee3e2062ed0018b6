//! Trainings of this family.

use crate::recipe::Recipe;

pub(crate) const RECIPES: &[Recipe] = &[];
