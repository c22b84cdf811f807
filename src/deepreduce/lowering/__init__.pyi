from .ir import Lowered as Lowered, convs as convs
from .lower import lower as lower
