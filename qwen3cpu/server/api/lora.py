"""POST /v1/load_lora_adapter and /v1/unload_lora_adapter, in vLLM's form: load adapters while the server runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse, Response

from qwen3cpu.errors import CheckpointError
from qwen3cpu.server.api.arrival import Arrival
from qwen3cpu.server.api.bodies import Body
from qwen3cpu.server.api.common import check_task
from qwen3cpu.server.api.errors import ApiError
from qwen3cpu.server.models.adapters import path_inside
from qwen3cpu.server.models.lender import Lender
from qwen3cpu.server.models.offers import Offer


class LoadLoraBody(Body):
    """The body of /v1/load_lora_adapter."""

    lora_name: str
    lora_path: str
    load_inplace: bool = False


class UnloadLoraBody(Body):
    """The body of /v1/unload_lora_adapter."""

    lora_name: str
    lora_int_id: int | None = None


async def load_lora_adapter(http: HttpRequest) -> Response:
    """POST /v1/load_lora_adapter."""
    folder = _folder(http)
    lender: Lender = http.app.state.lender
    arrival = Arrival(http)

    def read(given: dict[str, object]) -> tuple[LoadLoraBody, Offer, str, Path]:
        body = LoadLoraBody.model_validate(given)
        offer, name = lender.catalog.find_base(body.lora_name)
        check_task(offer.name, offer.describe().task, "generation")
        return body, offer, name, path_inside(folder, body.lora_path)

    body, offer, name, path = await arrival.body(read)
    service = await arrival.service(offer)
    if name in service.model.adapters and not body.load_inplace:
        raise ApiError(400, f"lora_name: {name!r} has already been loaded", param="lora_name")
    try:
        await arrival.work(partial(service.model.adapters.load, name, path, replace=body.load_inplace))
    except CheckpointError as problem:
        # Clients must not learn the path of the folder.
        raise ApiError(400, str(problem).replace(f"{folder.resolve()}/", ""), param="lora_path") from None
    offer.adapters[name] = str(path)
    return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' added successfully.")


async def unload_lora_adapter(http: HttpRequest) -> Response:
    """POST /v1/unload_lora_adapter."""
    _folder(http)
    lender: Lender = http.app.state.lender
    arrival = Arrival(http)

    def read(given: dict[str, object]) -> tuple[UnloadLoraBody, Offer, str | None]:
        body = UnloadLoraBody.model_validate(given)
        return body, *lender.catalog.find_adapted(body.lora_name)

    body, offer, name = await arrival.body(read)
    if name is None:
        raise ApiError(404, f"lora_name: expected an adapter, found the model {body.lora_name!r}", param="lora_name")
    offer.adapters.pop(name, None)
    held = next((each for each in lender.loaded() if each.offer is offer), None)
    if held is not None and held.service is not None and name in held.service.model.adapters:
        held.service.model.adapters.unload(name)
    return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' removed successfully.")


def _folder(http: HttpRequest) -> Path:
    lender: Lender = http.app.state.lender
    folder = lender.settings.adapters_dir
    if folder is None:
        path = http.scope["path"]
        message = f"{path} is off: it needs a server that was started with --adapters-dir"
        raise ApiError(403, message, code="not_allowed")
    return folder
