"""Administration that is cut short between two of its records: what is asked for again is finished."""

import json
from typing import Any

import pytest

from instance.tenancy_kit import BOSS, World, at
from regalia.config import Config
from regalia.errors import AuditUnavailable
from regalia.identity.signin.sessions import TOKEN_BYTES
from regalia.instance.organization import people as _people  # noqa: F401 - it adds operations
from regalia.instance.signin import SignIn
from regalia.instance.tenancy.operations import matched


def cut(world: World, n: int) -> None:
    """The log refuses the nth record from now on, once."""
    left = [n]
    honest = world.append

    async def append(record: bytes) -> int:
        left[0] -= 1
        if left[0] == 0:
            raise AuditUnavailable(f"not {json.loads(record)['kind']}")
        return await honest(record)

    world.at._append = append


async def post(world: World, path: str, body: dict[str, Any]) -> None:
    found = matched("POST", path)
    assert found is not None
    operation, asked = found
    assert operation.body is not None
    await operation.run(world.at, BOSS, asked, operation.body(**body))


@pytest.mark.parametrize("n", [1, 2])
async def test_who_is_no_owner_of_a_project_any_more_loses_that_role_wherever_it_was_cut(
    world: World, n: int
) -> None:
    owner = await world.person("amina", at("project-admin", project="default"))
    cut(world, n)
    path = f"/v1/organization/projects/default/users/{owner.user}"
    with pytest.raises(AuditUnavailable):
        await post(world, path, {"role": "member"})
    await post(world, path, {"role": "member"})
    assert [held.role for held in world.at.tenants.held_of(owner.user)] == ["developer"]


async def test_who_can_not_be_signed_in_anew_stays_signed_in(world: World, tmp_path: Any) -> None:
    amina = await world.person("amina", at("member"))
    signin = SignIn(Config(data_dir=tmp_path), world.at)
    old, _ = signin._sessions.begin(amina.user, "", world.now, bytes(TOKEN_BYTES))
    world.down = True
    with pytest.raises(AuditUnavailable):
        await signin._let_in(amina.user, "", "/", old)
    assert await signin.session(old) is not None
    world.down = False
    made = await signin._let_in(amina.user, "", "/", old)
    assert await signin.session(made.token) is not None
    assert await signin.session(old) is None
