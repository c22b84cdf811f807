"""Training: one loop, distillation, batched augmentation."""

from .evaluate import accuracy
from .fit import Epoch, Result, fit
from .recipe import RECIPES, Recipe, make_recipe, teacher_recipe_of

__all__ = ["RECIPES", "Epoch", "Recipe", "Result", "accuracy", "fit", "make_recipe", "teacher_recipe_of"]
