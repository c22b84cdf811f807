from .linearize import require_chosen as require_chosen
from .settings import Linearize as Linearize, make_linearize as make_linearize
