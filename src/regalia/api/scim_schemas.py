"""What the SCIM service says of itself (RFC 7643 5 to 7): only what is kept and works here."""

from typing import Any, Final

from regalia.identity.scim.query import MAX_RESULTS
from regalia.identity.scim.resources import GROUP_SCHEMA, USER_SCHEMA

_META: Final = "urn:ietf:params:scim:schemas:core:2.0:"


def _attribute(name: str, kind: str = "string", **other: Any) -> dict[str, Any]:
    """An attribute's description (RFC 7643 7)."""
    said = {
        "name": name,
        "type": kind,
        "multiValued": False,
        "description": "",
        "required": False,
        "mutability": "readWrite",
        "returned": "default",
    }
    if kind in ("string", "reference"):
        said |= {"caseExact": kind == "reference", "uniqueness": "none"}
    return said | other


_USER_ATTRIBUTES: Final = [
    _attribute("userName", required=True, uniqueness="server"),
    _attribute("displayName"),
    _attribute("active", "boolean"),
    _attribute(
        "name",
        "complex",
        subAttributes=[_attribute("formatted"), _attribute("familyName"), _attribute("givenName")],
    ),
    _attribute(
        "emails",
        "complex",
        multiValued=True,
        subAttributes=[_attribute("value"), _attribute("type"), _attribute("primary", "boolean")],
    ),
    _attribute(
        "groups",
        "complex",
        multiValued=True,
        mutability="readOnly",
        subAttributes=[
            _attribute("value", mutability="readOnly"),
            _attribute("$ref", "reference", mutability="readOnly", referenceTypes=["Group"]),
            _attribute("display", mutability="readOnly"),
        ],
    ),
]
_GROUP_ATTRIBUTES: Final = [
    _attribute("displayName", required=True, uniqueness="server"),
    _attribute(
        "members",
        "complex",
        multiValued=True,
        subAttributes=[
            _attribute("value", mutability="immutable"),
            _attribute("$ref", "reference", mutability="immutable", referenceTypes=["User"]),
        ],
    ),
]


def _schema(ident: str, name: str, attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schemas": [_META + "Schema"],
        "id": ident,
        "name": name,
        "description": f"{name}s as they are kept here",
        "attributes": attributes,
        "meta": {"resourceType": "Schema", "location": f"/scim/v2/Schemas/{ident}"},
    }


def _resource_type(name: str, schema: str) -> dict[str, Any]:
    return {
        "schemas": [_META + "ResourceType"],
        "id": name,
        "name": name,
        "endpoint": f"/{name}s",
        "description": f"{name}s",
        "schema": schema,
        "meta": {"resourceType": "ResourceType", "location": f"/scim/v2/ResourceTypes/{name}"},
    }


SCHEMAS: Final = {
    USER_SCHEMA: _schema(USER_SCHEMA, "User", _USER_ATTRIBUTES),
    GROUP_SCHEMA: _schema(GROUP_SCHEMA, "Group", _GROUP_ATTRIBUTES),
}
RESOURCE_TYPES: Final = {
    "User": _resource_type("User", USER_SCHEMA),
    "Group": _resource_type("Group", GROUP_SCHEMA),
}


def service_provider_config() -> dict[str, Any]:
    """What works here and what does not."""
    return {
        "schemas": [_META + "ServiceProviderConfig"],
        "documentationUri": "https://datatracker.ietf.org/doc/html/rfc7644",
        "patch": {"supported": True},
        "bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": True, "maxResults": MAX_RESULTS},
        "changePassword": {"supported": False},
        "sort": {"supported": False},
        "etag": {"supported": False},
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "Bearer token",
                "description": "The token of `signin.scim.token`",
                "primary": True,
            }
        ],
        "meta": {"resourceType": "ServiceProviderConfig", "location": "/scim/v2/ServiceProviderConfig"},
    }
