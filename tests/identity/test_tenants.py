"""What is known in memory of who may ask: changes go in, and the keys that follow from them come out."""

from dataclasses import dataclass, field

import msgspec

from regalia.identity.keys import RingKey
from regalia.identity.principal import Held
from regalia.identity.tenants import ApiKey, Changes, Grant, Organisation, Project, Tenants, User

ORG = Organisation("org", "Ministry", 1)
PROJECT = Project("proj", "org", "triage", "official", "KE", "default", 1)
ANN = User("ann", "Ann", "ann@x.example", "org", 1)
KEY = ApiKey("key", "app", "developer", "org", "proj", "project", "", "key:first", "abcd", 1)
HERS = msgspec.structs.replace(KEY, id="hers", user="ann", role="")
MEMBER = Grant("g1", "ann", "member", "org", "proj", 1)


@dataclass
class Ring:
    """A key ring as changes leave it."""

    tenants: Tenants = field(default_factory=Tenants)
    keys: dict[bytes, RingKey] = field(default_factory=dict)

    def absorb(self, **changed: object) -> "Ring":
        changes = msgspec.convert({"generation": self.tenants.generation + 1}, Changes)
        for digest, key in self.tenants.absorb(msgspec.structs.replace(changes, **changed)).items():
            if key is None:
                self.keys.pop(digest, None)
            else:
                self.keys[digest] = key
        return self


def known() -> Ring:
    return Ring().absorb(
        organisations=(ORG,),
        projects=(PROJECT,),
        users=(ANN,),
        grants=(MEMBER,),
        keys=((b"1", KEY), (b"2", HERS)),
    )


def test_a_key_takes_its_place_and_limits_from_its_project() -> None:
    principal = known().keys[b"1"].principal
    assert (principal.organisation, principal.project, principal.ceiling) == ("org", "proj", "official")
    assert principal.held == (Held("developer", "org", "proj"),)
    assert principal.roles == {"developer"}
    assert principal.models is None


def test_models_are_what_both_key_and_project_allow() -> None:
    ring = known().absorb(projects=(msgspec.structs.replace(PROJECT, models=("a", "b")),))
    assert ring.keys[b"1"].principal.models == frozenset({"a", "b"}), "a key follows its project"
    ring.absorb(keys=((b"1", msgspec.structs.replace(KEY, models=("b", "c"))),))
    assert ring.keys[b"1"].principal.models == frozenset({"b"})


def test_revoking_a_key_takes_it_out_and_no_other() -> None:
    ring = known().absorb(keys=((b"1", msgspec.structs.replace(KEY, revoked=5)),))
    assert set(ring.keys) == {b"2"}


def test_what_a_key_belongs_to_takes_it_along_and_back() -> None:
    for ended in (
        {"organisations": (msgspec.structs.replace(ORG, archived=5),)},
        {"projects": (msgspec.structs.replace(PROJECT, archived=5),)},
    ):
        assert known().absorb(**ended).keys == {}
    ring = known().absorb(users=(msgspec.structs.replace(ANN, disabled=5),))
    assert set(ring.keys) == {b"1"}
    assert set(ring.absorb(users=(ANN,)).keys) == {b"1", b"2"}


def test_a_persons_key_has_the_roles_they_have_now() -> None:
    ring = known()
    assert ring.keys[b"2"].principal.roles == {"member"}
    ring.absorb(grants=(Grant("g2", "ann", "reviewer", "org", "", 2),))
    assert ring.keys[b"2"].principal.roles == {"member", "reviewer"}
    ring.absorb(grants=(msgspec.structs.replace(MEMBER, ended=3),))
    assert ring.keys[b"2"].principal.roles == {"reviewer"}


def test_a_persons_key_reaches_no_further_than_its_scope() -> None:
    ring = known().absorb(
        grants=(Grant("g2", "ann", "auditor", "", "", 2), Grant("g3", "ann", "member", "other", "", 2))
    )
    held = ring.tenants.held_within
    assert set(held("ann", "instance", "", "")) == {
        Held("member", "org", "proj"),
        Held("auditor"),
        Held("member", "other"),
    }
    assert set(held("ann", "organisation", "org", "")) == {
        Held("member", "org", "proj"),
        Held("auditor", "org"),
    }
    assert set(held("ann", "project", "org", "proj")) == {
        Held("member", "org", "proj"),
        Held("auditor", "org", "proj"),
    }
    assert held("ann", "project", "org", "nowhere") == (Held("auditor", "org", "nowhere"),)


def test_who_signs_in_is_at_work_only_where_they_have_a_role() -> None:
    tenants = known().tenants
    here = tenants.principal_of_user("ann", "proj")
    assert here is not None
    assert (here.user, here.project, here.roles) == ("ann", "proj", frozenset({"member"}))
    assert tenants.principal_of_user("ann", "elsewhere") is None
    assert tenants.principal_of_user("nobody") is None
    at_home = tenants.principal_of_user("ann")
    assert at_home is not None
    assert at_home.project == ""


def test_a_key_whose_project_is_of_another_organisation_is_no_key() -> None:
    ring = known().absorb(
        organisations=(Organisation("b", "B", 1),),
        keys=((b"3", msgspec.structs.replace(KEY, id="odd", organisation="b")),),
    )
    assert b"3" not in ring.keys


def test_of_ten_thousand_keys_a_change_touches_only_those_it_is_about() -> None:
    projects = tuple(msgspec.structs.replace(PROJECT, id=f"p{n}") for n in range(1000))
    keys = tuple(
        (b"%d" % n, msgspec.structs.replace(KEY, id=f"k{n}", project=f"p{n % 1000}")) for n in range(10_000)
    )
    ring = Ring().absorb(organisations=(ORG,), projects=projects, keys=keys)
    assert len(ring.keys) == 10_000
    assert all(ring.keys[b"%d" % n].principal.project == f"p{n % 1000}" for n in range(10_000))
    assert len(ring.tenants.absorb(Changes(2, keys=keys[:1]))) == 1
    archived = msgspec.structs.replace(projects[7], archived=5)
    assert set(ring.tenants.absorb(Changes(3, projects=(archived,)))) == {
        b"%d" % n for n in range(7, 10_000, 1000)
    }
