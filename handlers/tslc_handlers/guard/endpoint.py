"""A guard model behind any OpenAI endpoint with text completions and log probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tslc_handlers.guard.model import TOP, GuardFailed
from tslc_handlers.guard.reading import Token

if TYPE_CHECKING:
    import httpx

_FORGOTTEN_SECONDS = 600


class EndpointGuard:
    """`url` is the endpoint's base, as in http://guard:8000/v1; `key` goes out as bearer token."""

    def __init__(self, url: str, model: str | None, key: str | None) -> None:
        self._url = url.rstrip("/")
        self._model = model
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._found: str | None = None
        self._client: httpx.AsyncClient | None = None

    async def complete(self, prompt: str, max_tokens: int) -> Sequence[Token]:
        import httpx

        if self._client is None:
            # The judge bounds the time of a verdict; this only ends what nobody waits for.
            self._client = httpx.AsyncClient(
                timeout=_FORGOTTEN_SECONDS, headers=self._headers, limits=_limits()
            )
        body = {
            "model": self._model or self._found or await self._only_model(),
            "prompt": prompt,
            "max_tokens": max_tokens,
            "temperature": 0,
            "logprobs": TOP,
            # The prompt has its own begin-of-text; vLLM would add another.
            "add_special_tokens": False,
        }
        try:
            answer = await self._client.post(f"{self._url}/completions", json=body)
        except httpx.HTTPError as error:
            raise GuardFailed(f"{self._url}: {error or type(error).__name__}") from error
        if answer.status_code != 200:
            self._found = None  # it may serve another one now
            raise GuardFailed(f"{self._url} answered {answer.status_code}: {answer.text[:200]}")
        try:
            return read_tokens(answer.json()["choices"][0]["logprobs"])
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise GuardFailed(f"{self._url} gave no log probabilities: {error!r}") from error

    async def _only_model(self) -> str:
        import httpx

        assert self._client is not None
        try:
            answer = await self._client.get(f"{self._url}/models")
            names = [str(one["id"]) for one in answer.json()["data"]]
        except (httpx.HTTPError, KeyError, TypeError, ValueError) as error:
            raise GuardFailed(f"{self._url}/models: {error or type(error).__name__}") from error
        if not names:
            raise GuardFailed(f"{self._url} serves no model; name one in handler.guard.model")
        self._found = names[0]
        return names[0]

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()


def _limits() -> httpx.Limits:
    """No verdict waits for another's connection, and none is sent into one that vLLM's server is
    just closing (it does after five idle seconds)."""
    import httpx

    return httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2)


def read_tokens(logprobs: Mapping[str, Any]) -> list[Token]:
    """OpenAI's `logprobs` of a text completion. Raises what malformed ones raise."""
    tokens, top = logprobs["tokens"], logprobs["top_logprobs"]
    if not all(isinstance(text, str) for text in tokens):
        raise TypeError("tokens that are no texts")
    return [
        Token(text, {str(k): float(v) for k, v in (top[place] or {}).items()})
        for place, text in enumerate(tokens)
    ]
