"""The shared language of both parties: plans, their files, their meaning and their cost."""

from .cost.traffic import Prediction, predict
from .execution.maxpool import tournament
from .execution.packing import Packing, packings
from .execution.schedule import offline_waves, online_levels
from .preprocessing import normalized, pictures_of
from .reference import decode_output, encode_input, run
from .schema import (
    INPUT,
    OUTPUT,
    PARAMETER_SETS,
    VERSION,
    Add,
    AvgPool,
    Concat,
    Conv,
    Cost,
    FixedPoint,
    Flatten,
    Linear,
    MaxPool,
    Op,
    ParameterSet,
    Pictures,
    Plan,
    Relu,
    Rescale,
    Traffic,
    kept_mask,
    pack_kept,
)
from .serialization import check_weights, decode, digest, encode, read_plan, read_weights, write_plan, write_weights
from .shapes import fractions, shapes
from .validation import validate

__all__ = [
    "INPUT",
    "OUTPUT",
    "PARAMETER_SETS",
    "VERSION",
    "Add",
    "AvgPool",
    "Concat",
    "Conv",
    "Cost",
    "FixedPoint",
    "Flatten",
    "Linear",
    "MaxPool",
    "Op",
    "Packing",
    "ParameterSet",
    "Pictures",
    "Plan",
    "Prediction",
    "Relu",
    "Rescale",
    "Traffic",
    "check_weights",
    "decode",
    "decode_output",
    "digest",
    "encode",
    "encode_input",
    "fractions",
    "kept_mask",
    "normalized",
    "offline_waves",
    "online_levels",
    "pack_kept",
    "packings",
    "pictures_of",
    "predict",
    "read_plan",
    "read_weights",
    "run",
    "shapes",
    "tournament",
    "validate",
    "write_plan",
    "write_weights",
]
