from .budgets import parse_budgets as parse_budgets
from .compute import ComputeBudget as ComputeBudget
from .criticality import (
    RankAgreement as RankAgreement,
    criticality as criticality,
    culling_order as culling_order,
    rank_agreement as rank_agreement,
)
from .find_frontier import find_frontier as find_frontier
from .frontier import Frontier as Frontier, TrainedNetwork as TrainedNetwork, pareto as pareto
from .hypervolume import Reference as Reference, hypervolume as hypervolume, reference_of as reference_of
from .targets import Target as Target, parse_target as parse_target
