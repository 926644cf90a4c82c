"""`/v1/embeddings`: of texts, and of media, which are comparable across modalities."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from nextomni_edge.errors import UsageError
from nextomni_edge.serve.encoded import base64_of
from nextomni_edge.serve.limits import Limits
from nextomni_edge.serve.models import Served
from nextomni_edge.serve.prompts import encoded
from nextomni_edge.serve.schemas import EmbeddingRequest, TextPart
from nextomni_edge.serve.service import service_of

router = APIRouter()


@router.post("/v1/embeddings")
async def embeddings(request: Request, asked: EmbeddingRequest) -> Response:
    """L2-normalised float32 rows: the product of two is their cosine."""
    service = service_of(request)
    served = service.models.named(asked.model)
    width = served.model.config.backbone.hidden_size
    if asked.dimensions not in (None, width):
        raise UsageError(f"dimensions is {asked.dimensions}; this model's embeddings have {width}")
    return JSONResponse(await service.off_loop(embedded, served, asked, service.limits))


def embedded(served: Served, asked: EmbeddingRequest, limits: Limits) -> dict[str, Any]:
    """The body of the answer."""
    inputs = [asked.input] if isinstance(asked.input, str) else asked.input
    parts = [TextPart(type="text", text=each) if isinstance(each, str) else each for each in inputs]
    rows = served.model.embed([encoded(served.model, part, limits) for part in parts])
    as_base64 = asked.encoding_format == "base64"
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64_of(row.astype("<f4").tobytes()) if as_base64 else numbers(row),
        }
        for index, row in enumerate(rows)
    ]
    tokens = sum(
        len(served.model.edge.tokenizer.encode(part.text))
        for part in parts
        if isinstance(part, TextPart)
    )
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": served.name, "usage": usage}


def numbers(row: np.ndarray[Any, np.dtype[np.float32]]) -> list[float]:
    found: list[float] = row.tolist()
    return found
