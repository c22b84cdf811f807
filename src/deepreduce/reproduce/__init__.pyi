from .run import RunOutcome as RunOutcome
from .scale import SCALES as SCALES, find_scale as find_scale
from .session import (
    Place as Place,
    choose_studies as choose_studies,
    run_studies as run_studies,
    write_results as write_results,
)
