"""`POST /v1/regalia/content/erase`: contents erased by an administrator while the server runs."""

import asyncio
from typing import Any

from litestar import MediaType, Request, Response, post
from litestar.handlers import HTTPRouteHandler

from regalia.api.asker import asker
from regalia.clock import now_ms
from regalia.errors import ApiError
from regalia.identity import Principal, permits, sees
from regalia.identity.roles import not_permitted
from regalia.instance import Instance
from regalia.instance.erasing import ErasureRequest, erasure_of, read_request
from regalia.instance.tenancy import place_of_call
from regalia.ledger import CallOpen
from regalia.ledger.erasing import NothingToErase
from regalia.vault import ErasureUnderWay
from regalia.vault.retention import Held


def erase_handler(instance: Instance) -> HTTPRouteHandler:
    """The route over one running instance."""

    @post("/v1/regalia/content/erase", status_code=200, summary="Erase contents, on record", tags=["content"])
    async def erase(request: Request[Any, Any, Any]) -> Response[str]:
        """Takes as JSON `basis` and one of `call`, `project`, `end_user`, `before`; the latter two reach all
        projects, so they take the permission in the whole instance.
        """
        who = asker(instance, request)
        wanted = read_request(await request.body())
        await _require(instance, who, wanted)
        where = instance.config.data_dir  # which holds the secret that pseudonyms are made with
        erasure = await asyncio.to_thread(erasure_of, where, wanted, who.actor, now_ms())
        try:
            return Response(await instance.ledger.erase(erasure), media_type=MediaType.JSON)
        except NothingToErase as error:
            raise ApiError(404, "nothing_to_erase", f"{error}.") from error
        except Held as error:
            raise ApiError(409, "held", f"{error}.") from error
        except (CallOpen, ErasureUnderWay) as error:
            raise ApiError(409, "not_now", f"{error}.", retry_after=1) from error

    return erase


async def _require(instance: Instance, who: Principal, wanted: ErasureRequest) -> None:
    """Raise ApiError unless `who` may erase that: 404 for what is none of theirs."""
    place: tuple[str, str] | None = ("", "")
    if wanted.call is not None:
        place = await place_of_call(instance.tenancy, wanted.call)
    elif wanted.project is not None:
        project = instance.tenancy.tenants.projects.get(wanted.project)
        place = (project.organisation, project.id) if project else None
    if place is None or (place[1] and not sees(who, *place)):
        raise ApiError(404, "nothing_to_erase", "There is no such call or project of yours.")
    if not permits(who, "content.erase", *place):
        raise not_permitted("content.erase")
