"""The configuration: one typed document, read from YAML, the environment and the command line.

The order is command line > environment (`REGALIA_…`) > file > default. A value in the file may be
`${VAR}` or `${VAR:-default}`. In the environment a nested key is written with two underscores:
`REGALIA_LIMITS__BODY_BYTES=1048576`. A key nobody knows is an error that names the nearest known one.
"""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from regalia.errors import RegaliaError

Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class ConfigError(RegaliaError):
    """The configuration can't be used; the message names the key and what would be right."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds on what comes from outside. Sizes in bytes, times in seconds.

    The last four are how many may be in use at once: organisations and projects that are not archived, people
    who are not locked out, keys that are neither revoked nor expired.
    """

    body_bytes: Positive = 8 * 1024 * 1024
    response_bytes: Positive = 32 * 1024 * 1024
    header_bytes: Positive = 64 * 1024
    header_seconds: Seconds = 10.0
    body_seconds: Seconds = 30.0
    idle_seconds: Seconds = 75.0
    call_seconds: Seconds = 900.0
    concurrent_calls: Positive = 1024
    drain_seconds: Seconds = 30.0
    organisations: Positive = 1_000
    projects: Positive = 10_000
    people: Positive = 100_000
    keys: Positive = 100_000


class EmbeddedEngine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The llama.cpp children. `threads` 0 means one per core; `memory_mb` 0 means no limit.

    Without `prompt_cache` no call is faster because another one, of whomever, began alike.
    """

    threads: Annotated[int, msgspec.Meta(ge=0, le=1024)] = 0
    context: Annotated[int, msgspec.Meta(ge=256)] = 4096
    parallel: Annotated[int, msgspec.Meta(ge=1, le=256)] = 8
    memory_mb: Annotated[int, msgspec.Meta(ge=0)] = 0
    prompt_cache: bool = True
    embeddings: bool = True


class ExternalEngine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server that speaks the OpenAI API: `base_url` is http(s)://… or unix:/path.

    `continuous_usage`: it says its counts with every chunk of a stream if asked; null: if it names itself as
    vLLM or SGLang.
    """

    name: Name
    base_url: Annotated[str, msgspec.Meta(pattern=r"^(https?://|unix:/)")]
    models: Annotated[list[str], msgspec.Meta(min_length=1)]
    adapter: Annotated[str, msgspec.Meta(pattern="^openai$")] = "openai"
    api_key: str = "none"
    continuous_usage: bool | None = None


class TimestampSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """RFC 3161 timestamps of checkpoints by the authority at `url`; none without one. See docs/keys.md."""

    url: Annotated[str, msgspec.Meta(pattern=r"^(https?://.+)?$")] = ""
    interval_s: Seconds = 3600.0
    certificates: Path | None = None


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The transparency log's witnesses: those of the trust policy in the file `trust_policy`.

    They are asked every `witness_seconds` while the log grows. When the policy has not been satisfied for
    `witness_limit_seconds`, calls are refused if `witnesses_lost` is "refuse"; "warn" only says so.
    """

    trust_policy: Path | None = None
    witness_seconds: Seconds = 5.0
    witnesses_lost: Annotated[str, msgspec.Meta(pattern="^(warn|refuse)$")] = "warn"
    witness_limit_seconds: Seconds = 300.0
    timestamps: TimestampSettings = TimestampSettings()


class VaultSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The vault. `root_key` is `file:PATH`, `env:NAME` or a `pkcs11:` URI, see docs/vault.md."""

    root_key: Annotated[str, msgspec.Meta(pattern=r"^((file|env|pkcs11):.+)?$")] = ""


class RetentionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often the server deletes what is due by its retention class."""

    apply_seconds: Seconds = 3600.0


class GroupRole(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A role that a provider's group gives: in the whole instance, an organisation, or one project of it."""

    role: Name
    organisation: str = ""
    project: str = ""


class IdentityProvider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An OpenID provider that people sign in at, and whose access tokens the API may take.

    `audience` is what access tokens must be for; without it none is taken. `hosts` are further hosts that the
    provider's endpoints may be on; nothing else is ever connected to. See docs/sign-in.md.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
    issuer: Annotated[str, msgspec.Meta(pattern=r"^https?://[^?#\s]+$")]
    client_id: Annotated[str, msgspec.Meta(min_length=1)]
    client_secret: str = ""
    title: str = ""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    groups_claim: str = "groups"
    group_roles: dict[str, list[GroupRole] | GroupRole] = {}
    organisation: str = "default"
    audience: str = ""
    access_token_type: Annotated[str, msgspec.Meta(pattern=r"^(at\+jwt|JWT)$")] = "at+jwt"  # noqa: S105 - a media type
    hosts: list[str] = []
    ca_file: Path | None = None
    link_by_email: bool = False
    provisioned_only: bool = False


class Scim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """SCIM 2.0 at /scim/v2, for the users of `provider`. Without a token there is none."""

    token: Annotated[str, msgspec.Meta(pattern=r"^(.{32,})?$")] = ""
    provider: str = ""


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Signing in. `public_url` is where browsers reach this server; needed unless that is host and port."""

    public_url: Annotated[str, msgspec.Meta(pattern=r"^(https?://[^/?#\s]+)?$")] = ""
    local_accounts: bool = True
    providers: tuple[IdentityProvider, ...] = ()
    scim: Scim = Scim()
    session_idle_seconds: Annotated[float, msgspec.Meta(gt=0, le=604_800)] = 1800.0
    session_seconds: Annotated[float, msgspec.Meta(gt=0, le=2_592_000)] = 43_200.0


class AuditExport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where audit events go as OCSF, see docs/audit-events.md. `to` "" means nowhere.

    `to` is file:/path, syslog+udp://host:port, syslog+tcp://host:port, syslog+unix:/dev/log or http(s)://….
    """

    to: Annotated[
        str, msgspec.Meta(pattern=r"^((file|syslog\+unix):/.+|syslog\+(udp|tcp)://.+|https?://.+)?$")
    ] = ""
    bearer_token: str = ""
    calls: bool = True
    ca_file: Path | None = None


class MeteringSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Usage and budgets, see docs/metering.md.

    `output_tokens` is reserved for a call that sets no limit, which under a hard budget gets it as its limit.
    `energy` measures calls where the hardware reports it; `grid_gco2e_per_kwh` turns that into carbon.
    """

    output_tokens: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 4096
    energy: bool = False
    grid_gco2e_per_kwh: Annotated[str, msgspec.Meta(pattern=r"^([0-9]{1,5}(\.[0-9]{1,6})?)?$")] = ""


class TenancySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Organisations and projects. `classifications` are the labels of a ceiling, the least secret first."""

    classifications: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=16)] = (
        "public",
        "official",
        "restricted",
        "secret",
    )


class PolicySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Policies and reviews. `approvals` is how many people must agree to put a policy in force.

    A caller may be told that a review is over at an address on this machine, or at one that begins with one
    of `callbacks`.
    """

    approvals: Annotated[int, msgspec.Meta(ge=1, le=2)] = 1
    callbacks: tuple[Annotated[str, msgspec.Meta(pattern=r"^https?://[^/]+/")], ...] = ()


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything an operator can set. `database` "" means the one that `regalia init` was given."""

    data_dir: Path = Path(".regalia")
    database: Annotated[str, msgspec.Meta(pattern=r"^(sqlite|postgresql://.+)?$")] = ""
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    host: str = "127.0.0.1"
    port: Port = 8080
    embedded: bool = True
    embedded_engine: EmbeddedEngine = EmbeddedEngine()
    engines: list[ExternalEngine] = []
    limits: Limits = Limits()
    log: Log = Log()
    vault: VaultSettings = VaultSettings()
    retention: RetentionSettings = RetentionSettings()
    tenancy: TenancySettings = TenancySettings()
    policy: PolicySettings = PolicySettings()
    metering: MeteringSettings = MeteringSettings()
    signin: SignIn = SignIn()
    audit_export: AuditExport = AuditExport()
    log_level: Annotated[str, msgspec.Meta(pattern="^(debug|info|warning|error)$")] = "info"


_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_MAX_FILE = 1024 * 1024


def load_config(
    file: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Read the configuration; `overrides` are the command line's. Raises ConfigError."""
    environment = os.environ if environment is None else environment
    document = _read(file, environment) if file else {}
    _merge(document, _from_environment(environment))
    _merge(document, {key: value for key, value in (overrides or {}).items() if value is not None})
    _refuse_unknown(document, Config, "")
    try:
        return msgspec.convert(document, Config, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise ConfigError(f"configuration: {error}") from error


def _read(file: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MAX_FILE:
            raise ConfigError(f"{file} is larger than {_MAX_FILE} bytes")
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"can't read the configuration {file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not YAML: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{file} must hold a mapping of keys to values")
    return {str(key): _expand(value, environment) for key, value in document.items()}


def _expand(value: object, environment: Mapping[str, str]) -> object:
    if isinstance(value, dict):
        return {key: _expand(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, environment) for item in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: _variable(match, environment), value)
    return value


def _variable(match: re.Match[str], environment: Mapping[str, str]) -> str:
    name, default = match.groups()
    found = environment.get(name)
    if found:
        return found
    if default is None:
        raise ConfigError(f"the configuration needs the environment variable {name}, which is not set")
    return str(default)


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """`REGALIA_A__B=x` becomes `{"a": {"b": "x"}}`; only keys the configuration knows are taken."""
    known = {field.name for field in msgspec.structs.fields(Config)}
    document: dict[str, Any] = {}
    for variable, text in environment.items():
        path = variable.removeprefix("REGALIA_").lower().split("__")
        if not variable.startswith("REGALIA_") or path[0] not in known:
            continue
        here = document
        for key in path[:-1]:
            here = here.setdefault(key, {})
        here[path[-1]] = yaml.safe_load(text) if text.startswith(("[", "{")) else text
    return document


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(kind)


_ITEMS: dict[tuple[type, str], type] = {
    (Config, "engines"): ExternalEngine,
    (SignIn, "providers"): IdentityProvider,
}
"""The lists whose items are structs, for naming unknown keys in them."""


def _refuse_unknown(document: Mapping[str, Any], struct: type, where: str) -> None:
    fields = {field.name: field.type for field in msgspec.structs.fields(struct)}
    for key, value in document.items():
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1, cutoff=0)
            raise ConfigError(
                f"unknown key `{where}{key}` in the configuration; did you mean `{where}{near[0]}`?"
            )
        inner = fields[key]
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct) and isinstance(value, Mapping):
            _refuse_unknown(value, inner, f"{where}{key}.")
        elif isinstance(value, list) and (item_type := _ITEMS.get((struct, key))):
            for index, item in enumerate(value):
                if isinstance(item, Mapping):
                    _refuse_unknown(item, item_type, f"{where}{key}[{index}].")
