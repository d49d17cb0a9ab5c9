"""llama.cpp without its prompt cache: nothing that one call has said makes another one faster.

With the cache, a prompt that begins like an earlier one is read faster, and the answer says how many tokens
were found (`cached_tokens`). So who tries beginnings of prompts can learn what others have asked.
"""

from typing import Any

from regalia.engines.llama import LlamaAdapter


class PrivateLlamaAdapter(LlamaAdapter):
    """Has every prompt read from its beginning, whatever the client asks for."""

    def prepare(self, route: str, document: dict[str, Any], mark: int = 0) -> bytes:
        """As `LlamaAdapter.prepare`, with the cache off."""
        return super().prepare(route, {**document, "cache_prompt": False}, mark)
