"""Records as OCSF events (Open Cybersecurity Schema Framework 1.2.0). Pure: one record, one event.

Signing in and out is Authentication (3002), what happens to people and accounts is Account Change (3001),
everything else is API Activity (6003). `metadata.uid` is the log's origin and the record's index, so a
receiver knows an event that comes twice; `raw_data` is the record itself, whose leaf hash is in the log.
There are only the log's pseudonyms in an event, and no addresses: the log has none.
"""

from collections.abc import Mapping
from typing import Any, Final

from regalia import __version__

VERSION: Final = "1.2.0"
API_ACTIVITY: Final = 6003
AUTHENTICATION: Final = 3002
ACCOUNT_CHANGE: Final = 3001
CLASSES: Final = {
    API_ACTIVITY: "API Activity",
    AUTHENTICATION: "Authentication",
    ACCOUNT_CHANGE: "Account Change",
}
_CATEGORIES: Final = {3: "Identity & Access Management", 6: "Application Activity"}

SUCCESS, FAILURE, OTHER = 1, 2, 99
_STATUS: Final = {SUCCESS: "Success", FAILURE: "Failure", OTHER: "Other"}
INFORMATIONAL, LOW, MEDIUM = 1, 2, 3
_SEVERITY: Final = {INFORMATIONAL: "Informational", LOW: "Low", MEDIUM: "Medium"}

_SIGN_INS: Final = {
    "admin.signed_in": (1, "Logon", SUCCESS),
    "admin.signin_refused": (1, "Logon", FAILURE),
    "admin.signed_out": (2, "Logoff", SUCCESS),
}
_ACCOUNTS: Final = {
    "admin.user_added": (1, "Create"),
    "admin.user_provisioned": (1, "Create"),
    "admin.account_added": (1, "Create"),
    "admin.user_enabled": (2, "Enable"),
    "admin.user_reprovisioned": (2, "Enable"),
    "admin.account_enabled": (2, "Enable"),
    "admin.account_reset": (4, "Password Reset"),
    "admin.user_disabled": (5, "Disable"),
    "admin.user_deprovisioned": (5, "Disable"),
    "admin.account_disabled": (5, "Disable"),
    "admin.role_given": (7, "Attach Policy"),
    "admin.role_taken": (8, "Detach Policy"),
    "admin.account_locked": (9, "Lock"),
    "admin.account_totp_enrolled": (10, "MFA Factor Enable"),
    "admin.account_totp_removed": (11, "MFA Factor Disable"),
    "admin.user_changed": (99, "Other"),
    "admin.user_listed": (99, "Other"),
    "admin.identity_linked": (99, "Other"),
}
_CREATE, _READ, _UPDATE, _DELETE = (1, "Create"), (2, "Read"), (3, "Update"), (4, "Delete")
_VERBS: Final = {
    **dict.fromkeys(["created", "added", "registered", "placed", "opened", "issued", "started"], _CREATE),
    **dict.fromkeys(["read", "reads"], _READ),
    **dict.fromkeys(["changed", "rotated", "activated", "set", "passed", "applied"], _UPDATE),
    **dict.fromkeys(["erased", "removed", "retired", "lifted", "archived", "revoked", "stopped"], _DELETE),
}
_CALLS: Final = {
    "call.answered": SUCCESS,
    "call.refused": FAILURE,
    "call.failed": FAILURE,
    "call.aborted": FAILURE,
    "call.cancelled": OTHER,
}

Record = Mapping[str, Any]


def event_of(record: Record, raw: bytes, index: int, origin: str) -> dict[str, Any]:
    """The event of one record: `raw` are its bytes in the log, `index` its place there."""
    kind = record["kind"]
    if kind in _SIGN_INS:
        activity, status = _SIGN_INS[kind][:2], _SIGN_INS[kind][2]
        event = _base(AUTHENTICATION, activity, status, record) | _authentication(record)
    elif kind in _ACCOUNTS:
        event = _base(ACCOUNT_CHANGE, _ACCOUNTS[kind], SUCCESS, record) | _account_change(record)
    else:
        status = _CALLS.get(kind, FAILURE if kind.endswith("_failed") else SUCCESS)
        event = _base(API_ACTIVITY, _activity(kind), status, record) | _api_activity(record)
    event["metadata"] = {
        "version": VERSION,
        "product": {"name": "Regalia", "vendor_name": "Regalia", "version": __version__},
        "uid": f"{origin}#{index}",
        "sequence": index,
        "event_code": kind,
        "log_name": origin,
        "log_provider": "regalia",
    }
    event["raw_data"] = raw.decode()
    return event


def _base(class_uid: int, activity: tuple[int, str], status: int, record: Record) -> dict[str, Any]:
    number, name = activity
    category = class_uid // 1000
    severity = _severity(record["kind"], status)
    return {
        "category_uid": category,
        "category_name": _CATEGORIES[category],
        "class_uid": class_uid,
        "class_name": CLASSES[class_uid],
        "activity_id": number,
        "activity_name": record["kind"] if number == 99 else name,
        "type_uid": class_uid * 100 + number,
        "type_name": f"{CLASSES[class_uid]}: {name}",
        "severity_id": severity,
        "severity": _SEVERITY[severity],
        "status_id": status,
        "status": _STATUS[status],
        "time": record["time"],
        "message": record["kind"],
    }


def _severity(kind: str, status: int) -> int:
    if kind == "admin.account_locked":
        return MEDIUM
    return LOW if status == FAILURE else INFORMATIONAL


def _activity(kind: str) -> tuple[int, str]:
    verb = kind.replace(".", "_").rpartition("_")[2]
    return (99, "Other") if kind.startswith("call.") else _VERBS.get(verb, (99, "Other"))


def _authentication(record: Record) -> dict[str, Any]:
    provider = str(record.get("provider", ""))
    local = provider == "local"
    found: dict[str, Any] = {
        "user": _user(record),
        "service": {"name": "regalia"},
        "auth_protocol_id": OTHER if local else 4,
        "auth_protocol": "password" if local else "OpenID",
        "is_remote": True,
    }
    if "session" in record:
        found["session"] = {"uid": record["session"]}
    if "reason" in record:
        found["status_detail"] = record["reason"]
    if "unrecorded" in record:
        found["count"] = record["unrecorded"] + 1
    if provider and not local:
        found["actor"] = {"app_name": "regalia", "idp": {"name": provider}}
    return found


def _account_change(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = {"user": _user(record), "actor": _actor(record)}
    if "role" in record:
        found["policy"] = {"name": record["role"]}
    return found


def _api_activity(record: Record) -> dict[str, Any]:
    api: dict[str, Any] = {
        "operation": str(record.get("route", record["kind"])),
        "service": {"name": "regalia"},
    }
    if "call" in record:
        api["request"] = {"uid": record["call"]}
    response = {"code": record.get("status"), "error": record.get("error")}
    if any(value is not None for value in response.values()):
        api["response"] = {name: value for name, value in response.items() if value is not None}
    found: dict[str, Any] = {
        "api": api,
        "actor": _actor(record),
        "src_endpoint": {"name": "not recorded"},
        "dst_endpoint": {"svc_name": "regalia"},
    }
    detail = record.get("error") or record.get("reason")
    if isinstance(detail, str):
        found["status_detail"] = detail
    resources = [
        {"type": name, "uid": value}
        for name in ("call", "project", "organisation", "erasure", "change")
        if isinstance(value := record.get(name), str)
    ]
    if resources:
        found["resources"] = resources
    return found


def _user(record: Record) -> dict[str, Any]:
    subject = record.get("subject")
    return {"uid": subject, "type_id": 1} if isinstance(subject, str) else {"name": "unknown", "type_id": 0}


def _actor(record: Record) -> dict[str, Any]:
    """Who did it: by pseudonym the person or key, the project of a call, else the system itself."""
    by, project = record.get("by"), record.get("project")
    if isinstance(by, str):
        return {"user": {"uid": by, "type_id": 0}}
    if isinstance(project, str):
        return {"app_name": "client", "app_uid": project}
    return {"app_name": "regalia"}
