from .fork_server import ForkServer as ForkServer
from .lease import ForkServers as ForkServers, ForkServersClient as ForkServersClient
