from .access.quota import Quota as Quota, Quotas as Quotas
from .client.background import BackgroundPreparer as BackgroundPreparer
from .client.classification import Classification as Classification
from .client.client import Client as Client
from .client.plan_list import list_plans as list_plans
from .core_dumps import forbid_core_files as forbid_core_files
from .identity import is_usable_name as is_usable_name
from .server.server import Server as Server
from .server.settings import ServerSettings as ServerSettings
from .store import ClientStore as ClientStore
from .transport.errors import BusyError as BusyError
from .transport.meter import OpPhase as OpPhase, Phase as Phase, Run as Run
from .transport.streams import client_context as client_context, server_context as server_context
