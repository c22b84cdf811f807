"""Tables, figures and studies that can be reproduced, by name."""

from __future__ import annotations

from collections.abc import Mapping

from ..claims.studies import CLAIMS_STUDY, ELEMENTS_STUDY, STAGES_STUDY, AblationStudy
from ..study import Study
from .layers import FIGURE3, FIGURE5
from .pareto import FIGURE1, TABLE4, TABLE5
from .pruning import TABLE8
from .scaling import TABLE2, TABLE9
from .shallow import TABLE7
from .stages import TABLE1, TABLE3, TABLE10, TABLE11, TABLE12
from .study import TableStudy

TABLES = (TABLE1, TABLE2, TABLE3, TABLE4, TABLE5, TABLE7, TABLE8, TABLE9, TABLE10, TABLE11, TABLE12, FIGURE1)

#: In the order in which they are trained and shown: what is run first serves most of the others.
_ALL: tuple[Study, ...] = (
    *(TableStudy(table) for table in TABLES),
    FIGURE3,
    FIGURE5,
    STAGES_STUDY,
    CLAIMS_STUDY,
    ELEMENTS_STUDY,
    AblationStudy(),
)
STUDIES: Mapping[str, Study] = {study.name: study for study in _ALL}
