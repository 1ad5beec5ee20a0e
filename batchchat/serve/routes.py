"""The paths of an OpenAI-compatible endpoint: which request goes where, who may ask, for which model.

What comes in: an `Exchange`. What goes out: the list of models, an error object, or a call of the backend with a
request that is valid. It does not know who answers (the simulator, or the front of the embedded model).

Azure's form of the path, `/openai/deployments/NAME/chat/completions`, is taken too; NAME stands for the model.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from batchchat.serve.refusal import Refusal
from batchchat.serve.request import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchchat.serve.head import Request
    from batchchat.serve.http import Exchange

COMPLETIONS = "/chat/completions"
DEPLOYMENTS = "/openai/deployments/"


class Visit(Protocol):
    """One request for a completion, in the hands of who answers it."""

    def refused(self, refusal: Refusal) -> None:
        """The routes refuse it; the answer is on its way after this."""

    def complete(self, asked: dict[str, Any]) -> None:
        """It is valid: to be answered, now or later."""


class Backend(Protocol):
    """Who answers completions."""

    def visit(self, exchange: Exchange) -> Visit:
        """A request for a completion is there, whole and not looked at."""

    def page(self, exchange: Exchange) -> bool:
        """Answers a page of the backend's own; False where it is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Who may come in, and for what.

    Attributes:
        models: served names. Empty: any name is served, and `listed` is.
        listed: the name in the list of models where any is served.
        owner: as the list of models has it.
        want_key: a key has to be sent, whichever it is.
        key: the one key that is taken; None for any.
        strict: fields that are not OpenAI's are refused.
    """

    models: Sequence[str] = ()
    listed: str = "sim"
    owner: str = "batchchat"
    want_key: bool = False
    key: str | None = field(default=None, repr=False)
    strict: bool = False


class Routes:
    """The app of a server."""

    def __init__(self, backend: Backend, door: Door) -> None:
        self.door = door
        self._backend = backend
        self._since = int(time.time())

    def __call__(self, exchange: Exchange) -> None:
        """Answers an exchange."""
        request = exchange.request
        if request.path.endswith(COMPLETIONS) and _is_completions(request.path):
            self._complete(exchange)
        elif not self._backend.page(exchange):
            try:
                body = json.dumps(self._page(request)).encode()
            except Refusal as refusal:
                exchange.send(refusal.status, refusal.body(), headers=refusal.headers)
            else:
                exchange.send(200, body)

    def _complete(self, exchange: Exchange) -> None:
        request = exchange.request
        visit = self._backend.visit(exchange)
        try:
            if request.method != "POST":
                raise _not_allowed(request, "POST")
            self._check_key(request)
            asked = parse(request.body, model=_deployment(request.path), strict=self.door.strict)
            self._check_model(asked["model"])
        except Refusal as refusal:
            visit.refused(refusal)
            exchange.send(refusal.status, refusal.body(), headers=refusal.headers)
            return
        visit.complete(asked)

    def _page(self, request: Request) -> dict[str, Any]:
        path = request.path.removeprefix("/v1")
        if path == "/models" or path.startswith("/models/"):
            if request.method not in {"GET", "HEAD"}:
                raise _not_allowed(request, "GET")
            self._check_key(request)
            return self._models(path.removeprefix("/models").removeprefix("/"))
        if path in {"/", "", "/health"}:
            return {"status": "ok"}
        raise Refusal(404, f"Invalid URL ({request.method} {request.path[:200]})")

    def _models(self, name: str) -> dict[str, Any]:
        if name:
            self._check_model(name)
            return self._model(name)
        return {"object": "list", "data": [self._model(served) for served in self.door.models or (self.door.listed,)]}

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._since, "owned_by": self.door.owner}

    def _check_model(self, name: str) -> None:
        if self.door.models and name not in self.door.models:
            raise Refusal(
                404,
                f"The model '{name[:200]}' does not exist or you do not have access to it. "
                f"Served here: {', '.join(self.door.models)}",
                param="model",
                code="model_not_found",
            )

    def _check_key(self, request: Request) -> None:
        if not self.door.want_key and self.door.key is None:
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else ""
        key = key or request.headers.get("api-key", "")
        if not key:
            raise Refusal(
                401,
                "You didn't provide an API key. Send it in an Authorization header: Authorization: Bearer YOUR_KEY",
                headers='www-authenticate: Bearer realm="batchchat"\r\n',
            )
        if self.door.key is not None and key != self.door.key:
            raise Refusal(401, "Incorrect API key provided.", code="invalid_api_key")


def _is_completions(path: str) -> bool:
    return path in {COMPLETIONS, f"/v1{COMPLETIONS}"} or _deployment(path) is not None


def _deployment(path: str) -> str | None:
    if not path.startswith(DEPLOYMENTS):
        return None
    name = path.removeprefix(DEPLOYMENTS).removesuffix(COMPLETIONS)
    return name if name and "/" not in name else None


def _not_allowed(request: Request, method: str) -> Refusal:
    return Refusal(
        405,
        f"Not allowed to {request.method} on {request.path[:200]}. (HINT: {method} is.)",
        headers=f"allow: {method}\r\n",
    )
