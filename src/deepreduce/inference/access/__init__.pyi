from .audit_log import FIRST_DIGEST as FIRST_DIGEST
from .audit_verify import verify_audit_log as verify_audit_log
from .default_tls import (
    default_client_tls as default_client_tls,
    default_pair as default_pair,
    default_server_tls as default_server_tls,
    is_loopback as is_loopback,
)
from .development_ca import (
    LOOPBACK as LOOPBACK,
    loopback_authority as loopback_authority,
    loopback_pair as loopback_pair,
    make_certificates as make_certificates,
)
from .quota import Quota as Quota, Quotas as Quotas
from .quota_usage import QuotaUse as QuotaUse, quota_usage as quota_usage
from .tokens import add_token as add_token, remove_token as remove_token
from .usage_ledger import LEDGER_FILE as LEDGER_FILE, Usage as Usage, UsageLedger as UsageLedger
