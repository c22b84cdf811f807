from .client import ClientStore as ClientStore
from .server import ServerStore as ServerStore, hold_store as hold_store
from .store import (
    Claimed as Claimed,
    LostBatchError as LostBatchError,
    Purpose as Purpose,
    StoreFullError as StoreFullError,
)
from .summary import (
    Prepared as Prepared,
    Selection as Selection,
    store_contents as store_contents,
    store_held as store_held,
    store_summary as store_summary,
)
