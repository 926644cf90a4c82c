"""GradNorm: weights of several losses so that each trains a shared parameter at a similar pace
(Chen et al., arXiv 1711.02257)."""

from __future__ import annotations

import torch
from torch import Tensor


class GradNorm:
    """λ for named losses, positive, with a sum equal to their number. `asymmetry` is the paper's
    α."""

    def __init__(self, names: tuple[str, ...], asymmetry: float = 0.5, rate: float = 0.02) -> None:
        self.names, self.asymmetry, self.rate = names, asymmetry, rate
        self.weights = dict.fromkeys(names, 1.0)
        self.initial: dict[str, float] = {}

    def update(self, losses: dict[str, Tensor], shared: Tensor) -> None:
        """One step on the λ of the losses present, from the norms of their gradients on `shared`.

        The paper moves λ along the sign of |G_i − Ḡ·r_i^α|; a multiplicative step in log λ does the
        same and keeps λ > 0.
        """
        if len(losses) < 2:
            return
        norms = {
            name: float(torch.autograd.grad(loss, shared, retain_graph=True)[0].norm())
            for name, loss in losses.items()
        }
        self._move({name: float(loss.detach()) for name, loss in losses.items()}, norms)

    def update_in_backward(
        self, losses: dict[str, Tensor], shared: Tensor, embeddings: Tensor, deep: str
    ) -> None:
        """As `update`, for a model in shares: λ move in the coming backward pass, and count from
        the next batch on.

        Nothing but that pass itself may enter the layers. So the gradient of the loss `deep` is
        taken on its way at the layers' input `embeddings`, and goes from there to `shared`. The
        other losses do not depend on the layers.
        """
        norms = {
            name: float(torch.autograd.grad(loss, shared, retain_graph=True)[0].norm())
            for name, loss in losses.items()
            if name != deep
        }
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        scales: list[float] = []  # what the pass weighs the loss with
        losses[deep].register_hook(lambda gradient: scales.append(float(gradient)))

        def arrived(gradient: Tensor) -> None:
            hook.remove()  # the way from here to `shared` begins with the same hook
            found = torch.autograd.grad(
                embeddings, shared, gradient, retain_graph=True, allow_unused=True
            )[0]
            if found is not None and scales[-1]:
                norms[deep] = float(found.norm()) / scales[-1]
                self._move(values, norms)

        hook = embeddings.register_hook(arrived)

    def _move(self, losses: dict[str, float], gradients: dict[str, float]) -> None:
        """One step on the λ of these losses from the norms of their gradients, λ left out."""
        norms, pace = {}, {}
        for name, loss in losses.items():
            norms[name] = self.weights[name] * gradients[name]
            pace[name] = loss / self.initial.setdefault(name, max(loss, 1e-8))
        mean_norm = sum(norms.values()) / len(norms)
        mean_pace = max(sum(pace.values()) / len(pace), 1e-8)
        for name in losses:
            target = mean_norm * (max(pace[name], 1e-8) / mean_pace) ** self.asymmetry
            direction = 1.0 if norms[name] < target else -1.0
            self.weights[name] = min(
                max(self.weights[name] * (1.0 + self.rate * direction), 0.05), 20.0
            )
        scale = len(self.names) / sum(self.weights.values())
        self.weights = {name: weight * scale for name, weight in self.weights.items()}

    def state(self) -> dict[str, dict[str, float]]:
        return {"weights": dict(self.weights), "initial": dict(self.initial)}

    def load(self, state: dict[str, dict[str, float]]) -> None:
        self.weights, self.initial = dict(state["weights"]), dict(state["initial"])
