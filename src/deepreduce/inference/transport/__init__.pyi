from .errors import BusyError as BusyError, PeerError as PeerError
from .frames import Reason as Reason
from .streams import client_context as client_context, server_context as server_context
