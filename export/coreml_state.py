"""A backbone that keeps its keys and values as a Core ML state, not as inputs and outputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nextomni_edge.models.backbone import Backbone


class KeepingBackbone(Backbone):
    """Buffers `keys` and `values` (layers,1,kv_heads,positions,head_dim) become the state. Its
    layers have their own names."""

    keys: Tensor
    values: Tensor

    def __init__(self, stateless: Backbone, shape: tuple[int, ...]) -> None:
        nn.Module.__init__(self)
        self.config, self.layers, self.norm = stateless.config, stateless.layers, stateless.norm
        self.register_buffer("keys", torch.zeros(shape))
        self.register_buffer("values", torch.zeros(shape))

    def forward(  # type: ignore[override]
        self, embeddings: Tensor, positions: Tensor, attention_mask: Tensor, held: Tensor
    ) -> Tensor:
        """(1,S,H), (1,S), (1,P+S) bool, (positions,) → hidden (1,S,H).

        The rows see the first P columns of the state. Each column then takes the entry of (the
        state, the rows) that `held` names. This is a gather, because the converter does not support
        a scatter of a free number of rows.
        """
        past = attention_mask.shape[1] - embeddings.shape[1]
        kept = self.keys[:, :, :, :past], self.values[:, :, :, :past]
        hidden, keys, values = super().forward(embeddings, positions, attention_mask, *kept)
        self.keys.copy_(torch.cat((self.keys, keys), dim=3).index_select(3, held))
        self.values.copy_(torch.cat((self.values, values), dim=3).index_select(3, held))
        return hidden
