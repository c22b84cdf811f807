from .object_store import open_object_store as open_object_store
from .ray_executor import RETRIES as RETRIES, RayExecutor as RayExecutor
