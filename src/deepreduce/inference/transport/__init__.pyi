from .errors import BusyError as BusyError, PeerError as PeerError
from .frames import Reason as Reason
from .limit import Limit as Limit, LimitKind as LimitKind
from .plan_list import (
    PlanOffer as PlanOffer,
    UnknownPlanError as UnknownPlanError,
    check_plan_name as check_plan_name,
)
from .streams import client_context as client_context, server_context as server_context
