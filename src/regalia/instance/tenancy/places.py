"""Organisations and projects: created, changed, archived, found."""

from typing import Annotated

import msgspec
from sqlalchemy import Connection, insert, update

from regalia.errors import ApiError
from regalia.identity import Principal, require_at, sees
from regalia.identity.roles import not_found
from regalia.identity.tenants import Organisation, Project
from regalia.instance.tenancy.tenancy import Tenancy, bounded, changed_meanwhile, refuse_more
from regalia.ledger.retaining import read_rules
from regalia.storage.schema.tenancy import organisations, projects
from regalia.vault.retention import DEFAULT

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Models = Annotated[tuple[Text, ...], msgspec.Meta(max_length=200)]
Retention = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Jurisdiction = Annotated[str, msgspec.Meta(pattern=r"^([A-Z]{2}(-[A-Z0-9]{1,8})?)?$")]


class NewProject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A project to create. `ceiling` is a classification label, `jurisdiction` ISO 3166 (KE, CH-ZH)."""

    name: Text
    organisation: Text = "default"
    ceiling: Annotated[str, msgspec.Meta(max_length=64)] = ""
    jurisdiction: Jurisdiction = ""
    models: Models | None = None
    retention: Retention = "default"


class ProjectChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to become different; what is left out stays. `models` [] takes the list away: all."""

    name: Text | None = None
    ceiling: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    jurisdiction: Jurisdiction | None = None
    models: Models | None = None
    retention: Retention | None = None


async def create_organisation(at: Tenancy, actor: Principal, name: str) -> Organisation:
    """A new organisation, which takes an owner of the whole instance. Raises ApiError."""
    require_at(actor, "organisations.manage", "")
    name = bounded("name", name)
    if any(one.name == name for one in at.tenants.organisations.values()):
        raise ApiError(409, "exists_already", f"There is an organisation `{name}` already.", param="name")
    there = sum(one.archived is None for one in at.tenants.organisations.values())
    refuse_more("organisations", there, at.limits.organisations)
    made = Organisation(at.new_id("org"), name, at.clock())

    def write(connection: Connection, generation: int) -> None:
        row = {"id": made.id, "name": name, "created": made.created, "changed": generation}
        connection.execute(insert(organisations).values(row))

    await at.change("organisation_created", actor, dict(at.place(made.id)), write)
    return made


async def archive_organisation(at: Tenancy, actor: Principal, ident: str) -> Organisation:
    """End an organisation: its keys are refused from now on. Raises ApiError."""
    found = organisation(at, actor, ident)
    require_at(actor, "organisations.manage", "")
    now = at.clock()

    def write(connection: Connection, generation: int) -> None:
        here = (organisations.c.id == ident) & organisations.c.archived.is_(None)
        change = update(organisations).where(here).values(archived=now, changed=generation)
        if connection.execute(change).rowcount != 1:
            raise changed_meanwhile()

    if found.archived is None:
        await at.change("organisation_archived", actor, dict(at.place(ident)), write)
    return at.tenants.organisations[ident]


def organisation(at: Tenancy, actor: Principal, ident: str) -> Organisation:
    """One organisation. Raises ApiError 404 where the actor has no business."""
    found = at.tenants.organisations.get(ident)
    if found is None or not sees(actor, ident):
        raise not_found("organisation", ident)
    return found


def list_organisations(at: Tenancy, actor: Principal) -> list[Organisation]:
    """The organisations in which the actor has some role, the oldest first."""
    found = [one for one in tuple(at.tenants.organisations.values()) if sees(actor, one.id)]
    return sorted(found, key=lambda one: (one.created, one.id))


async def create_project(at: Tenancy, actor: Principal, wanted: NewProject) -> Project:
    """A new project. Raises ApiError."""
    parent = organisation(at, actor, wanted.organisation)
    require_at(actor, "projects.manage", parent.id)
    if parent.archived is not None:
        raise ApiError(409, "archived", f"The organisation `{parent.id}` is archived.")
    there = sum(one.archived is None for one in at.tenants.projects.values())
    refuse_more("projects", there, at.limits.projects)
    await _refuse_undefined(at, wanted.retention)
    made = Project(
        id=at.new_id("proj"),
        organisation=parent.id,
        name=bounded("name", wanted.name),
        ceiling=_label(at, wanted.ceiling),
        jurisdiction=wanted.jurisdiction,
        retention=wanted.retention,
        created=at.clock(),
        models=wanted.models or None,
    )
    _refuse_taken_name(at, made)

    def write(connection: Connection, generation: int) -> None:
        connection.execute(insert(projects).values(**_row(made), changed=generation))

    await at.change("project_created", actor, _recorded(at, made), write)
    return made


async def change_project(at: Tenancy, actor: Principal, ident: str, wanted: ProjectChange) -> Project:
    """A project with other settings. They hold for calls within a second. Raises ApiError."""
    found = project(at, actor, ident)
    require_at(actor, "projects.manage", found.organisation, ident)
    given = {
        name: value
        for name in ProjectChange.__struct_fields__
        if (value := getattr(wanted, name)) is not None
    }
    if "models" in given:
        given["models"] = given["models"] or None
    if "ceiling" in given:
        _label(at, given["ceiling"])
    if given.get("retention", found.retention) != found.retention:
        await _refuse_undefined(at, given["retention"])
    made = msgspec.structs.replace(found, **given)
    _refuse_taken_name(at, made)

    def write(connection: Connection, generation: int) -> None:
        here = (projects.c.id == ident) & projects.c.archived.is_(None)
        change = update(projects).where(here).values(**_row(made), changed=generation)
        if connection.execute(change).rowcount != 1:
            raise changed_meanwhile()

    await at.change("project_changed", actor, _recorded(at, made), write)
    return made


async def archive_project(at: Tenancy, actor: Principal, ident: str) -> Project:
    """End a project: its keys are refused from now on; its calls keep their receipts. Raises ApiError."""
    found = project(at, actor, ident)
    require_at(actor, "projects.manage", found.organisation, ident)
    now = at.clock()

    def write(connection: Connection, generation: int) -> None:
        here = (projects.c.id == ident) & projects.c.archived.is_(None)
        change = update(projects).where(here).values(archived=now, changed=generation)
        if connection.execute(change).rowcount != 1:
            raise changed_meanwhile()

    if found.archived is None:
        await at.change("project_archived", actor, dict(at.place(found.organisation, ident)), write)
    return at.tenants.projects[ident]


def project(at: Tenancy, actor: Principal, ident: str) -> Project:
    """One project. Raises ApiError 404 where the actor has no business."""
    found = at.tenants.projects.get(ident)
    if found is None or not sees(actor, found.organisation, ident):
        raise not_found("project", ident)
    return found


def list_projects(at: Tenancy, actor: Principal, within: str = "") -> list[Project]:
    """The projects that the actor has to do with, of one organisation if named. Raises ApiError 404."""
    if within:
        organisation(at, actor, within)
    found = [
        one
        for one in tuple(at.tenants.projects.values())
        if sees(actor, one.organisation, one.id) and within in ("", one.organisation)
    ]
    return sorted(found, key=lambda one: (one.created, one.id))


def _label(at: Tenancy, label: str) -> str:
    if label and label not in at.labels:
        raise ApiError(400, "invalid_value", f"`ceiling` is one of: {', '.join(at.labels)}.", param="ceiling")
    return label


async def _refuse_undefined(at: Tenancy, name: str) -> None:
    """Raise ApiError 400 unless there is such a retention class: else contents would stay for ever."""
    if name == DEFAULT:
        return
    defined = (await at.read(read_rules)).classes
    if name not in defined:
        known = ", ".join(sorted({DEFAULT, *defined}))
        raise ApiError(
            400,
            "invalid_value",
            f"There is no retention class `{name}`, only: {known}. `regalia retention define` makes one.",
            param="retention",
        )


def _refuse_taken_name(at: Tenancy, made: Project) -> None:
    for one in at.tenants.projects.values():
        same_name = (one.organisation, one.name) == (made.organisation, made.name)
        if same_name and one.id != made.id and one.archived is None:
            raise ApiError(409, "exists_already", f"There is a project `{made.name}` already.", param="name")


def _row(made: Project) -> dict[str, object]:
    row = msgspec.structs.asdict(made)
    row["models"] = None if made.models is None else msgspec.json.encode(made.models).decode()
    return row


def _recorded(at: Tenancy, made: Project) -> dict[str, str | int]:
    """What the log says of a project's settings; its name stays in the database."""
    return {
        **at.place(made.organisation, made.id),
        "ceiling": made.ceiling,
        "jurisdiction": made.jurisdiction,
        "retention": made.retention,
        "models": ",".join(made.models or ()),
    }
