from .roofline import linear_floor_s as linear_floor_s, measure_rates as measure_rates, relu_floor as relu_floor
from .run import BenchOptions as BenchOptions, bench as bench
