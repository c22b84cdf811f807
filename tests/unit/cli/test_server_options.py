"""What each of several server processes gets of what all may have together."""

from deepreduce.cli.server_options import ServeSettings
from deepreduce.inference import ServerSettings
from deepreduce.inference.server.supervisor import Inherited


def test_processes_share_limits_of_memory():
    """Also the free memory for weights, which each of them would otherwise take half of."""
    server = ServerSettings(max_prepared_bytes=1000, max_weight_bytes=800, max_sessions=9, workers=0, insecure=True)
    settings = ServeSettings(server, "127.0.0.1", 0, None, None)
    assert settings.share(None) is server
    shared = settings.share(Inherited(0, 4, 3, None, None))
    assert (shared.max_prepared_bytes, shared.max_weight_bytes, shared.max_sessions) == (250, 200, 3)
    free = ServeSettings(ServerSettings(workers=0, insecure=True), "127.0.0.1", 0, None, None)
    each = free.share(Inherited(0, 4, 3, None, None)).weight_bytes
    assert 0 < each < free.server.weight_bytes / 3
