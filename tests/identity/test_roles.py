"""The matrix of roles: duties stay separate, and a role permits nothing outside of where it holds."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regalia.errors import ApiError
from regalia.identity import MATRIX, PERMISSIONS, ROLES, Held, Principal, allowed, permits, require_at, sees
from regalia.identity.roles import CONFLICTS, GRANTABLE, PERSONAL, require

NAMES = [role.name for role in ROLES]
CONTENT = {
    "call.make",
    "receipts.read",
    "reviews.decide",
    "content.request",
    "content.grant",
    "content.read",
    "content.reads",
    "content.erase",
}


def person(*held: Held, project: str = "p", organisation: str = "o") -> Principal:
    roles = frozenset(one.role for one in held if one.covers(organisation, project))
    return Principal("key_1", project, "", organisation, "user_1", roles, held=held)


def test_every_permission_is_known_once_and_names_roles_that_exist() -> None:
    assert len(PERMISSIONS) == len(MATRIX)
    assert all(row.roles <= set(NAMES) and row.roles for row in MATRIX)
    assert set(GRANTABLE) <= set(NAMES)
    assert set(PERMISSIONS) >= PERSONAL


def test_an_operator_has_nothing_to_do_with_content() -> None:
    assert not any(allowed({"platform-operator"}, permission) for permission in CONTENT)


def test_only_auditors_and_data_protection_officers_read_content_and_neither_makes_calls() -> None:
    for role in NAMES:
        reads = allowed({role}, "content.read")
        assert reads == (role in {"auditor", "data-protection-officer"})
        assert not (reads and allowed({role}, "call.make"))


def test_an_auditor_changes_nothing() -> None:
    changing = [name for name in PERMISSIONS if name.endswith((".manage", ".erase", ".grant", ".decide"))]
    assert changing
    assert not any(allowed({"auditor"}, permission) for permission in changing)


def test_who_gives_roles_is_not_free_to_give_more_than_their_own_duty() -> None:
    for role, given_by in GRANTABLE.items():
        assert allowed({role}, "members.manage")
        if role != "owner":
            assert role not in given_by
            assert not given_by & {"owner", "auditor", "data-protection-officer", "platform-operator"}


def test_no_pair_of_conflicting_duties_is_of_one_role() -> None:
    assert all(len(pair) == 2 and pair <= set(NAMES) for pair in CONFLICTS)


@pytest.mark.parametrize(("role", "permission"), list(itertools.product(NAMES, PERMISSIONS)))
def test_each_cell_holds_in_its_place_and_nowhere_else(role: str, permission: str) -> None:
    expected = role in PERMISSIONS[permission].roles
    one = person(Held(role, "o", "p"))
    assert permits(one, permission, "o", "p") == expected
    assert not permits(one, permission, "o", "q")
    assert not permits(one, permission, "o")
    assert not permits(one, permission, "")
    everywhere = person(Held(role))
    assert permits(everywhere, permission, "o", "q") == expected
    assert permits(everywhere, permission, "") == expected
    if expected:
        require(one, permission)
    else:
        with pytest.raises(ApiError) as refused:
            require(one, permission)
        assert (refused.value.status, refused.value.code) == (403, "not_permitted")


@pytest.mark.parametrize("permission", sorted(PERSONAL))
def test_a_service_key_does_nothing_that_somebody_must_answer_for(permission: str) -> None:
    held = tuple(Held(role) for role in NAMES)
    service = Principal("key_1", "p", "owner", "o", roles=frozenset(NAMES), held=held)
    assert not permits(service, permission, "o", "p")
    with pytest.raises(ApiError):
        require(service, permission)


@pytest.mark.parametrize(
    ("held", "organisation", "project", "status"),
    [
        (Held("member", "o", "p"), "o", "p", 403),
        (Held("member", "o", "p"), "o", "q", 404),
        (Held("member", "o", "p"), "x", "p", 404),
        (Held("member", "o", "p"), "o", "", 403),
        (Held("owner", "x"), "o", "", 404),
        (Held("owner", "o"), "", "", 403),
    ],
)
def test_what_is_none_of_yours_is_not_found_and_what_is_may_be_refused(
    held: Held, organisation: str, project: str, status: int
) -> None:
    with pytest.raises(ApiError) as refused:
        require_at(person(held), "keys.manage", organisation, project)
    assert refused.value.status == status


places = st.sampled_from(["", "a", "b"])
helds = st.builds(Held, st.sampled_from(NAMES), places, places).filter(
    lambda one: one.organisation != "" or one.project == ""
)


@given(st.lists(helds, max_size=5), st.sampled_from(sorted(PERMISSIONS)), st.sampled_from(["a", "b"]), places)
def test_whoever_is_permitted_sees_and_more_roles_never_permit_less(
    held: list[Held], permission: str, organisation: str, project: str
) -> None:
    principal = person(*held)
    if permits(principal, permission, organisation, project):
        assert sees(principal, organisation, project)
        assert permits(person(*held, Held("member", "c", "c")), permission, organisation, project)
        assert permits(person(*held), permission, organisation, project or "some")
