from .executors import Executor as Executor, ProcessExecutor as ProcessExecutor, devices as devices
from .observer import JobObserver as JobObserver, Planned as Planned
