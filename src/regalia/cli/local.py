"""Who runs a command on this machine."""

import os
import pwd


def os_user() -> str:
    """The user that the kernel knows, whatever the environment says: records attribute acts to it."""
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container may have users without names
        return str(uid)
