"""`/v1/organization/…`: administration in the shape of OpenAI's API, so that tools that poll that work here.

https://platform.openai.com/docs/api-reference/administration. It is another view of what `tenancy` and
`metering` do: the same decisions, the same records. The organisation is the key's own. Times are seconds
since the epoch, as there. Importing this package adds the operations.
"""

from regalia.instance.organization import audit_logs, keys, people, projects, usage

__all__ = ["audit_logs", "keys", "people", "projects", "usage"]
