from .events import JsonLines as JsonLines, emit as emit
from .metrics import Metrics as Metrics
from .monitoring import MonitoringServer as MonitoringServer
from .server import listening_socket as listening_socket
from .supervisor import (
    LONGEST_RESTART_S as LONGEST_RESTART_S,
    POLL_S as POLL_S,
    RESTART_S as RESTART_S,
    Inherited as Inherited,
    Supervisor as Supervisor,
)
