"""Who makes a request: what every decision about it starts from."""

import msgspec


class Held(msgspec.Struct, frozen=True):
    """A role and where it holds: organisation "" is the whole instance, project "" the organisation."""

    role: str
    organisation: str = ""
    project: str = ""

    def covers(self, organisation: str, project: str = "") -> bool:
        """Whether it holds in that project, or, without one, in that whole organisation."""
        return self.organisation == "" or (
            self.organisation == organisation and self.project in ("", project)
        )

    def touches(self, organisation: str) -> bool:
        """Whether it holds anywhere in that organisation."""
        return self.organisation in ("", organisation)


class Principal(msgspec.Struct, frozen=True):
    """Who makes a call. `project` is whose call it is; "" is of none, and makes no calls.

    `role` is the key's own role, `roles` are those in force in the project and its organisation, `held`
    are all with where they hold. `user` is "" for a service key. `models` and `routes` are what the key
    and its project allow, None for all; `ceiling` is the project's classification label, "" for none.
    """

    key_id: str
    project: str
    role: str
    organisation: str = ""
    user: str = ""
    roles: frozenset[str] = frozenset()
    models: frozenset[str] | None = None
    routes: frozenset[str] | None = None
    ceiling: str = ""
    jurisdiction: str = ""
    held: tuple[Held, ...] = ()
    issuer: str = ""

    @property
    def actor(self) -> str:
        """Whom an act is attributed to: the person, else the key. Only pseudonyms of it go on record.

        What acts without a key says so in `key_id`: `os:NAME` at the machine itself, `provider:NAME`.
        """
        if self.user:
            return f"user:{self.user}"
        return self.key_id if ":" in self.key_id else f"key:{self.key_id}"


def local_actor(name: str) -> Principal:
    """Whoever acts with an owner's powers and no key: `os:NAME`, who holds the data directory itself, or
    `provider:NAME`, an identity provider whose groups were given roles in the configuration.
    """
    if ":" not in name:
        raise ValueError(f"an actor without a key is like os:NAME, not {name!r}")
    return Principal(name, "", "owner", roles=frozenset({"owner"}), held=(Held("owner"),))


def may_use(principal: Principal, model: str) -> bool:
    """Whether the key and its project allow the model."""
    return principal.models is None or model in principal.models
