from .choice import Choice as Choice, choose_protocol as choose_protocol
from .latency import DEFAULT_MACHINE as DEFAULT_MACHINE, Machine as Machine, run_seconds as run_seconds
from .network_link import (
    NetworkLink as NetworkLink,
    for_link as for_link,
    layout_rate as layout_rate,
    parse_link as parse_link,
)
from .op_counts import op_work as op_work
from .run_cost import RunCost as RunCost, run_cost as run_cost
