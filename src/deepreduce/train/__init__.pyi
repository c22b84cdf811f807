from .annealing import Annealing as Annealing
from .evaluate import accuracy as accuracy
from .fit import Epoch as Epoch, Result as Result, fit as fit, make_optimizer as make_optimizer
from .recipe import (
    OF_STUDENTS as OF_STUDENTS,
    RECIPES as RECIPES,
    Recipe as Recipe,
    make_recipe as make_recipe,
    teacher_recipe_of as teacher_recipe_of,
)
