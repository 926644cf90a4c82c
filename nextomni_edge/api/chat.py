"""A conversation in turns of any modality."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nextomni_edge.api.answer import Answer
from nextomni_edge.api.prompt import Item, Prompt, batch_of, turn_of
from nextomni_edge.api.settings import Request, Settings
from nextomni_edge.api.step import Generation, Step
from nextomni_edge.errors import UsageError
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.search.update import Progress
from nextomni_edge.tokens.chat import Kind, Turn

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Chat:
    """What `Model.chat` gives. turns: all that was said so far. last: the last answer.

    A turn that fails, or whose stream is left before its end, is forgotten.
    """

    def __init__(self, edge: EdgeModel, request: Request) -> None:
        self.turns: list[Turn] = []
        self.last: Answer | None = None
        self._edge, self._request = edge, request

    def say(
        self,
        prompt: Prompt | list[Item],
        to: Kind | None = None,
        *,
        trim: bool = False,
        progress: Progress | None = None,
        **settings: Unpack[Settings],
    ) -> Answer:
        """Say a prompt and return the answer; both are kept. Arguments and errors as
        `Model.generate`'s."""
        for step in self.stream(prompt, to, trim=trim, **settings):
            if progress and step.record:
                progress(step.number + 1, step.total, "")
        return step.answer.decoded()

    def stream(
        self,
        prompt: Prompt | list[Item],
        to: Kind | None = None,
        *,
        trim: bool = False,
        **settings: Unpack[Settings],
    ) -> Iterator[Step]:
        """Say a prompt and watch the answer form, as `Model.stream` does. Prompt and answer are
        kept when the last step is reached."""
        if batch_of(prompt) is not None:
            raise UsageError("a chat takes one prompt at a time; write its parts as a tuple")
        request = self._request.fitting(Request.of(to or self._request.kind, {}).kind)
        turns = [*self.turns, turn_of(self._edge, prompt, trim)]
        generation = Generation(self._edge, [turns], request.with_settings(settings))
        return self._watched(generation, turns)

    def _watched(self, generation: Generation, turns: list[Turn]) -> Iterator[Step]:
        for step in generation.watched():
            if step.record is None:
                self.turns = [*turns, Turn("assistant", (step.answer.part,))]
                self.last = step.answer
            yield step

    def reset(self) -> None:
        """Forget all that was said."""
        self.turns, self.last = [], None
