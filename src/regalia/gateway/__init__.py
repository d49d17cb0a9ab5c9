"""One call's way: admit, route, generate, record. See `gateway.Gateway.answer`."""

from regalia.gateway.client import CallTimeout, Client, ClientGone
from regalia.gateway.gateway import Gateway
from regalia.gateway.metrics import Metrics
from regalia.gateway.routes import ROUTES, Route

__all__ = ["ROUTES", "CallTimeout", "Client", "ClientGone", "Gateway", "Metrics", "Route"]
