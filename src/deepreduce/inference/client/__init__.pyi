from .client import Client as Client
from .retry import retry_pause_s as retry_pause_s, retry_while_busy as retry_while_busy
