"""Organisations, projects, people, roles, keys, and who reads content: the functions that change them.

Plain functions: they take a `Tenancy` to work on, the `Principal` that acts, and plain data, and return
frozen structs. They raise `ApiError`: 404 for what the actor has no business with, 403 for what their roles
do not permit, 409 for what can't be now; AuditUnavailable where it can't be recorded.
"""

from regalia.instance.tenancy.content import (
    ContentRead,
    ContentRequest,
    Said,
    decide_request,
    list_reads,
    list_requests,
    place_of_call,
    read_content,
    request_content,
)
from regalia.instance.tenancy.keys import (
    IssuedKey,
    NewKey,
    create_key,
    key,
    list_keys,
    revoke_key,
    rotate_key,
)
from regalia.instance.tenancy.people import (
    NewUser,
    RoleAt,
    add_user,
    disable_user,
    give_role,
    list_users,
    roles_of,
    set_roles,
    take_role,
    user,
)
from regalia.instance.tenancy.places import (
    NewProject,
    ProjectChange,
    archive_organisation,
    archive_project,
    change_project,
    create_organisation,
    create_project,
    list_organisations,
    list_projects,
    organisation,
    project,
)
from regalia.instance.tenancy.tenancy import Tenancy

__all__ = [
    "ContentRead",
    "ContentRequest",
    "IssuedKey",
    "NewKey",
    "NewProject",
    "NewUser",
    "ProjectChange",
    "RoleAt",
    "Said",
    "Tenancy",
    "add_user",
    "archive_organisation",
    "archive_project",
    "change_project",
    "create_key",
    "create_organisation",
    "create_project",
    "decide_request",
    "disable_user",
    "give_role",
    "key",
    "list_keys",
    "list_organisations",
    "list_projects",
    "list_reads",
    "list_requests",
    "list_users",
    "organisation",
    "place_of_call",
    "project",
    "read_content",
    "request_content",
    "revoke_key",
    "roles_of",
    "rotate_key",
    "set_roles",
    "take_role",
    "user",
]
