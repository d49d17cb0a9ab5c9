"""Where `regalia ask` finds a server and a key: options, the environment, or `client.json`."""

import os
from pathlib import Path

import msgspec

from regalia.errors import RegaliaError


class Profile(msgspec.Struct, frozen=True):
    """`client.json` in the data directory (mode 0600)."""

    api_key: str
    base_url: str = "http://127.0.0.1:8080"


def save_profile(data_dir: Path, profile: Profile) -> None:
    """Write `client.json`, readable by its owner only."""
    descriptor = os.open(data_dir / "client.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(profile))


def has_profile(data_dir: Path) -> bool:
    """Whether a key is saved in the data directory."""
    return (data_dir / "client.json").exists()


def load_profile(data_dir: Path, api_key: str | None, base_url: str | None) -> Profile:
    """The options given, completed from `client.json`. Raises RegaliaError where no key is found."""
    saved: Profile | None = None
    try:
        saved = msgspec.json.decode((data_dir / "client.json").read_bytes(), type=Profile)
    except FileNotFoundError:
        pass
    except (OSError, msgspec.DecodeError) as error:
        raise RegaliaError(f"can't read {data_dir / 'client.json'}: {error}") from error
    key = api_key or (saved.api_key if saved else None)
    if key is None:
        raise RegaliaError(
            "no API key: give --api-key, set REGALIA_API_KEY, or run `regalia init --save-key`"
        )
    return Profile(api_key=key, base_url=base_url or (saved.base_url if saved else Profile("").base_url))
