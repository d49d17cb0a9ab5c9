"""Projects of the organisation."""

from typing import Any

import msgspec

from regalia.identity import Principal
from regalia.identity.tenants import Project
from regalia.instance.organization.listing import PAGING, Text, home, own_project, page, seconds, served
from regalia.instance.tenancy import (
    NewProject,
    ProjectChange,
    archive_project,
    change_project,
    create_project,
    list_projects,
)
from regalia.instance.tenancy.paging import Asked
from regalia.instance.tenancy.tenancy import Tenancy


class Named(msgspec.Struct, frozen=True):
    """A project to create or rename. What else OpenAI knows of projects has no meaning here."""

    name: Text


def shown(project: Project) -> dict[str, Any]:
    """A project in the API's shape."""
    return {
        "id": project.id,
        "object": "organization.project",
        "name": project.name,
        "created_at": seconds(project.created),
        "archived_at": seconds(project.archived),
        "status": "active" if project.archived is None else "archived",
    }


@served("GET", "/projects", "List projects", query=(*PAGING, "include_archived"))
def _projects(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    archived = asked.get("include_archived", "").lower() == "true"
    found = list_projects(at, actor, home(at, actor).id)
    return page([shown(one) for one in found if archived or one.archived is None], asked)


@served("POST", "/projects", "Create a project", body=Named)
async def _create(at: Tenancy, actor: Principal, _asked: Asked, body: Named) -> object:
    return shown(await create_project(at, actor, NewProject(body.name, home(at, actor).id)))


@served("GET", "/projects/{project}", "Retrieve a project")
async def _project(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return shown(own_project(at, actor, asked["project"]))


@served("POST", "/projects/{project}", "Rename a project", body=Named)
async def _rename(at: Tenancy, actor: Principal, asked: Asked, body: Named) -> object:
    ident = own_project(at, actor, asked["project"]).id
    return shown(await change_project(at, actor, ident, ProjectChange(name=body.name)))


@served("POST", "/projects/{project}/archive", "Archive a project")
async def _archive(at: Tenancy, actor: Principal, asked: Asked, _body: None) -> object:
    return shown(await archive_project(at, actor, own_project(at, actor, asked["project"]).id))
