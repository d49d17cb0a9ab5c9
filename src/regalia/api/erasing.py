"""`POST /v1/regalia/content/erase`: contents erased by an administrator while the server runs."""

from typing import Any

from litestar import MediaType, Request, Response, post
from litestar.handlers import HTTPRouteHandler

from regalia.clock import now_ms
from regalia.errors import ApiError
from regalia.identity import permits
from regalia.identity.roles import not_permitted
from regalia.instance import Instance
from regalia.instance.erasing import erasure_of, read_request
from regalia.ledger import CallOpen
from regalia.ledger.erasing import NothingToErase
from regalia.vault import ErasureUnderWay


def erase_handler(instance: Instance) -> HTTPRouteHandler:
    """The route over one running instance."""

    @post("/v1/regalia/content/erase", status_code=200, summary="Erase contents, on record", tags=["content"])
    async def erase(request: Request[Any, Any, Any]) -> Response[str]:
        """Takes an admin key, and as JSON `basis` and one of `call`, `project`, `end_user`, `before`."""
        header = request.headers.get("authorization")
        who = instance.keys.principal(header.encode("latin-1") if header else None)
        if not permits(who, "content.erase", ""):
            raise not_permitted("content.erase")
        wanted = read_request(await request.body())
        erasure = erasure_of(instance.config.data_dir, wanted, f"key:{who.key_id}", now_ms())
        try:
            return Response(await instance.ledger.erase(erasure), media_type=MediaType.JSON)
        except NothingToErase as error:
            raise ApiError(404, "nothing_to_erase", f"{error}.") from error
        except (CallOpen, ErasureUnderWay) as error:
            raise ApiError(409, "not_now", f"{error}.", retry_after=1) from error

    return erase
