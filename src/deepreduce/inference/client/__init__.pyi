from .classification import (
    AHEAD as AHEAD,
    Classification as Classification,
    class_names as class_names,
    classify_each as classify_each,
    prepare_some as prepare_some,
)
from .client import Client as Client
from .inputs import image_files as image_files, read_input as read_input
from .plan_list import list_plans as list_plans
from .retry import retry_pause_s as retry_pause_s, retry_while_busy as retry_while_busy
