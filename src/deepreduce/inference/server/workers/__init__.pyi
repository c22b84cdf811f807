from .fork_server import ForkServer as ForkServer, ForkServerClient as ForkServerClient
