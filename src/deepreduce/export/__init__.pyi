from .costs import predicted_costs as predicted_costs
from .export import (
    Exported as Exported,
    calibration_images as calibration_images,
    export_network as export_network,
    export_point as export_point,
    frontier_data as frontier_data,
    normalized_as as normalized_as,
    spread as spread,
)
from .folder import check_folder as check_folder
from .merging.merge import merge_ops as merge_ops
from .onnx_check import onnx_difference as onnx_difference
from .onnx_export import write_onnx as write_onnx
from .quantization.quantize import quantize as quantize
from .quantization.rescales import with_rescales as with_rescales
from .samples import write_samples as write_samples
from .sources import load_network as load_network, read_calibration as read_calibration, tuned as tuned
from .synthetic import plan_of as plan_of, random_images as random_images, with_random_weights as with_random_weights
