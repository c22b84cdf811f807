from .cost.traffic import Prediction as Prediction, predict as predict
from .execution.maxpool import tournament as tournament
from .execution.packing import Packing as Packing, packing_levels as packing_levels, packings as packings
from .execution.schedule import offline_waves as offline_waves, online_levels as online_levels
from .folder import (
    FACTS_FILE as FACTS_FILE,
    PLAN_FILE as PLAN_FILE,
    WEIGHTS_FILE as WEIGHTS_FILE,
    PlanFolder as PlanFolder,
    read_folder as read_folder,
)
from .npy import read_array as read_array
from .preprocessing import normalized as normalized, pictures_of as pictures_of
from .reference import answers as answers, decode_output as decode_output, encode_input as encode_input, run as run
from .schema import (
    INPUT as INPUT,
    LINK_RATE as LINK_RATE,
    OUTPUT as OUTPUT,
    PARAMETER_SETS as PARAMETER_SETS,
    VERSION as VERSION,
    Add as Add,
    AvgPool as AvgPool,
    Concat as Concat,
    Conv as Conv,
    Cost as Cost,
    FixedPoint as FixedPoint,
    Flatten as Flatten,
    Linear as Linear,
    MaxPool as MaxPool,
    Op as Op,
    ParameterSet as ParameterSet,
    Pictures as Pictures,
    Plan as Plan,
    Relu as Relu,
    Rescale as Rescale,
    Traffic as Traffic,
    kept_mask as kept_mask,
    pack_kept as pack_kept,
)
from .serialization import (
    check_weights as check_weights,
    decode as decode,
    digest as digest,
    encode as encode,
    read_plan as read_plan,
    read_weights as read_weights,
    weights_digest as weights_digest,
    write_plan as write_plan,
    write_weights as write_weights,
)
from .shapes import fractions as fractions, shape_of as shape_of, shapes as shapes
from .validation import validate as validate
