"""What differs between two packs, rail by rail, in sentences that a lawyer can read."""

from typing import Any

import msgspec

from regalia.policy.document import Pack

_SECTIONS = ("title", "jurisdiction", "languages", "retention", "disclosure", "review")


def difference(old: Pack, new: Pack) -> list[str]:
    """One line for each change, empty where both say the same. Examples are not compared."""
    lines = [] if old.label == new.label else [f"pack: {old.label} → {new.label}"]
    before, after = (msgspec.to_builtins(pack) for pack in (old, new))
    for name in _SECTIONS:
        if before.get(name) != after.get(name):
            lines += _changes(name, before.get(name), after.get(name))
    rails_before = {rail["id"]: rail for rail in before["rails"]}
    rails_after = {rail["id"]: rail for rail in after["rails"]}
    lines += [f"rail {name}: removed" for name in rails_before if name not in rails_after]
    for name, rail in rails_after.items():
        if name not in rails_before:
            lines.append(f"rail {name}: added ({rail['action']} on {_said(rail['on'])})")
        else:
            lines += _changes(f"rail {name}", rails_before[name], rail)
    common = [name for name in rails_before if name in rails_after]
    if common != [name for name in rails_after if name in rails_before]:
        lines.append("rails: another order")
    return lines


def _changes(where: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*old, *new])
        return [line for key in keys if old.get(key) != new.get(key)
                for line in _changes(f"{where}.{key}", old.get(key), new.get(key))]  # fmt: skip
    return [f"{where}: {_said(old)} → {_said(new)}"]


def _said(value: Any) -> str:
    if value is None:
        return "(default)"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
