"""Prompts built from the published tokenizers, id for id as the authors' code builds them."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from nextomni_edge.checkpoints.directory import Checkpoint
from nextomni_edge.config import ModelConfig
from nextomni_edge.errors import UsageError
from nextomni_edge.generate.model import EdgeModel
from nextomni_edge.tokens.chat import Kind, Part, Turn, conversation, respond
from nextomni_edge.tokens.masked import left_padded, painted, unconditional
from nextomni_edge.tokens.masked_training import described, dialogue, reasoned
from nextomni_edge.tokens.sequence import Sequence
from nextomni_edge.tokens.text import TextTokenizer
from tests.published.goldens import Array, arrays, read
from tests.published.models import imported
from tests.published.runs import all_runs, lumina_image_runs, of_run


@functools.cache
def opened(family: str) -> tuple[TextTokenizer, ModelConfig]:
    checkpoint = Checkpoint.open(imported(family))
    return TextTokenizer(checkpoint.tokenizer_path, checkpoint.config.text), checkpoint.config


def ids(family: str, sequence: Sequence) -> Array:
    """A sequence in the model's one vocabulary."""
    _, config = opened(family)
    offset, entries = config.image.offset or 0, config.image.codebook.entries
    mask = config.flow.text.mask
    return np.concatenate(
        [
            np.where(part.tokens == entries, mask, part.tokens + offset)[:, 0]
            if part.modality == "image"
            else part.tokens
            for part in sequence.segments
        ]
    )


def asked(family: str, *parts: Part, answer: Kind = "text", **more: object) -> Sequence:
    tokenizer, config = opened(family)
    said = conversation(tokenizer, [Turn("user", parts)], answer)
    return respond(said, answer, config, tokenizer, **more)  # type: ignore[arg-type]


def image(family: str, name: str, height: int) -> Part:
    """The codes of a recorded prompt's image, from its ids with the offset, (h,w,1)."""
    _, config = opened(family)
    found = arrays(family)[name].ravel() - (config.image.offset or 0)
    codes = found[(found >= 0) & (found < config.image.codebook.entries)]
    return Part("image", codes.reshape(height, -1, 1))


def test_lladas_chat() -> None:
    golden, message = arrays("llada"), read("llada", "texts.json")["messages"][0]
    found = asked("llada", Part("text", message), length=7)
    np.testing.assert_array_equal(ids("llada", found), golden["fwd.tokens"][0])


def test_mmadas_chat_has_one_newline_behind_a_header() -> None:
    golden, texts = arrays("mmada"), read("mmada", "texts.json")
    found = ids("mmada", asked("mmada", Part("text", texts["lm_question"]), length=1))
    np.testing.assert_array_equal(found[:-1], golden["lm.ids"][0])
    codes = arrays("magvitv2")["enc.codes"][0].reshape(4, 4, 1)
    shown = asked("mmada", Part("image", codes), Part("text", texts["mmu_question"]), length=1)
    np.testing.assert_array_equal(ids("mmada", shown)[:-1], golden["mmu.ids"][0])


def test_mmadas_image_prompts_with_their_left_padding() -> None:
    golden, tokenizer = arrays("mmada"), opened("mmada")[0]
    for index, text in enumerate(read("mmada", "texts.json")["texts_t2i"]):
        sequence = asked("mmada", Part("text", text), answer="image")
        prompt = np.concatenate([part.tokens for part in sequence.segments[:3]])
        padded, attended = left_padded(tokenizer, prompt, 26)
        behind = ids("mmada", Sequence(sequence.segments[3:]))
        whole = np.concatenate([padded, behind])
        np.testing.assert_array_equal(whole, golden["prompt.t2i.ids"][index])
        mask = golden["prompt.t2i.attention_mask"][index]
        np.testing.assert_array_equal(attended, mask[:27].astype(bool))


def test_mmadas_unconditional_prompt_is_an_empty_text() -> None:
    golden, (tokenizer, _) = arrays("mmada"), opened("mmada")
    sequence = asked("mmada", Part("text", "a red house"), answer="image")
    (found,) = unconditional(sequence, "image", tokenizer, 64)
    mask = golden["t2i.uncond_attention_mask"][0] == 1
    np.testing.assert_array_equal(ids("mmada", found), golden["t2i.uncond_ids"][0][mask])


@pytest.mark.parametrize("family", ["llada", "mmada", "lumina_dimoo"])
def test_the_unconditional_prompt_of_a_text_is_all_masks(family: str) -> None:
    tokenizer, config = opened(family)
    sequence = asked(family, Part("text", "a red house"), length=4)
    (found,) = unconditional(sequence, "text", tokenizer, 64)
    assert set(ids(family, found).tolist()) == {config.flow.text.mask}
    assert found.length == sequence.length


def test_luminas_picture_of_any_size_has_a_newline_behind_every_row() -> None:
    golden, texts = arrays("lumina_dimoo"), read("lumina_dimoo", "texts.json")
    size = (texts["width"], texts["height"])
    sequence = asked("lumina_dimoo", Part("text", texts["t2i"]), answer="image", size=size)
    found = ids("lumina_dimoo", sequence)
    np.testing.assert_array_equal(found, golden["t2i.prompt"][0])
    start = int(golden["t2i.code_start"][0])
    assert sequence.spans()[sequence.generated()[0]][0] == start
    (without,) = unconditional(sequence, "image", opened("lumina_dimoo")[0], 64)
    expected = np.concatenate(
        [golden["t2i.uncond_prompt"][0], golden["t2i.prompt"][0][start - 2 :]]
    )
    np.testing.assert_array_equal(ids("lumina_dimoo", without), expected)
    np.testing.assert_array_equal(expected, golden["t2i.uncond_x"][0])


def test_luminas_editing_has_two_prompts_without_a_condition() -> None:
    golden, texts = arrays("lumina_dimoo"), read("lumina_dimoo", "texts.json")
    given = image("lumina_dimoo", "i2i.image_tokens", 2)
    sequence = asked("lumina_dimoo", Part("text", texts["edit"]), given, answer="image")
    np.testing.assert_array_equal(ids("lumina_dimoo", sequence), golden["i2i.prompt"][0])
    branches = unconditional(sequence, "image", opened("lumina_dimoo")[0], 64)
    for found, name in zip(branches, ("uncond_text", "uncond_image"), strict=True):
        np.testing.assert_array_equal(ids("lumina_dimoo", found), golden[f"i2i.{name}_x"][0])


def test_luminas_question_about_a_picture() -> None:
    golden, texts = arrays("lumina_dimoo"), read("lumina_dimoo", "texts.json")
    given = image("lumina_dimoo", "mmu.image_tokens_single", 4)
    sequence = asked("lumina_dimoo", Part("text", texts["question"]), given, length=12)
    np.testing.assert_array_equal(ids("lumina_dimoo", sequence), golden["mmu_single.prompt"][0])


def test_dreams_chat() -> None:
    chat = read("dream", "traj.json")["chat"]["plain"]
    found = ids("dream", asked("dream", Part("text", chat["messages"][0]["content"]), length=1))
    np.testing.assert_array_equal(found[:-1], chat["ids"])


def test_given_and_generated_parts_of_one_image() -> None:
    """Inpainting and outpainting: what is known stands in the answer from the start."""
    golden, texts = arrays("lumina_dimoo"), read("lumina_dimoo", "texts.json")
    sequence = asked("lumina_dimoo", Part("text", texts["t2i"]), answer="image", size=(96, 64))
    places = golden["t2i.prompt"][0] == 316
    start = golden["paint_run.x"][0][places]
    masked = (start == 316).reshape(4, 6)
    codes = np.where(masked.ravel(), 0, start - 336).reshape(4, 6, 1)
    found = painted(sequence, codes, masked)
    np.testing.assert_array_equal(ids("lumina_dimoo", found), golden["paint_run.x"][0])


def test_what_no_prompt_can_hold_is_refused_in_one_sentence() -> None:
    with pytest.raises(
        UsageError, match=r"^the text holds <\|mdm_mask\|>, the mask that the model"
    ):
        asked("llada", Part("text", "write <|mdm_mask|> here"))
    with pytest.raises(
        UsageError,
        match=r"^a picture of 100 x 64 pixels: sides are multiples of 16, such as 96 x 64$",
    ):
        asked("lumina_dimoo", Part("text", "a"), answer="image", size=(100, 64))
    with pytest.raises(
        UsageError, match=r"^a picture of 96 x 64 pixels: this model draws 64 x 64$"
    ):
        asked("mmada", Part("text", "a"), answer="image", size=(96, 64))
    with pytest.raises(UsageError, match=r"^modality 'image': this model answers in text$"):
        asked("llada", Part("text", "a"), answer="image")
    with pytest.raises(UsageError, match=r"^Lumina-DiMOO answers one turn: start again"):
        conversation(opened("lumina_dimoo")[0], [Turn("user", ()), Turn("assistant", ())])
    with pytest.raises(UsageError, match=r"^MMaDA draws a picture of one text: give that only$"):
        asked("mmada", Part("image", np.zeros((4, 4, 1), np.int64)), answer="image")
    with pytest.raises(UsageError, match=r"^audio: this model's conversations hold no audio$"):
        asked("llada", Part("audio", np.zeros((4, 1), np.int64)))


def test_other_specials_in_a_users_text_are_plain_text() -> None:
    found = asked("llada", Part("text", "<|eot_id|> and <|startoftext|>"), length=1)
    ends = [token for token in ids("llada", found).tolist() if token in (300, 328)]
    assert ends == [300, 328]  # the template's own


EDITED = {
    "canny_pred": ("other", None), "zzz": ("other", None), "depth_control": ("control", None),
    "subject_driven": ("subject", None),
    "image_ref_transfer": (
        "style", "Transform the current image into the style of the provided image.",
    ),
    "multi_view_left": ("view", "Generate the left view based on the provided front view."),
    "dense_hed": ("dense", "Generate a dense map according to the image."),
}  # fmt: skip


@pytest.mark.parametrize("name", list(EDITED))
def test_luminas_words_for_what_a_picture_is_for(name: str) -> None:
    """Its prompt before the picture is put in front of the last id."""
    (edit, words), tokenizer = EDITED[name], opened("lumina_dimoo")[0]
    parts = (
        Part("text", words or read("lumina_dimoo", "texts.json")["edit"]),
        image("lumina_dimoo", "i2i.image_tokens", 2),
    )
    said = conversation(tokenizer, [Turn("user", parts)], "image", edit)
    without = np.concatenate([*(part.tokens for part in said[:2]), said[-2].tokens])
    np.testing.assert_array_equal(without, arrays("lumina_dimoo")[f"i2i_prompt.{name}"])


def test_a_style_is_drawn_in_the_size_of_the_last_picture() -> None:
    first, last = (Part("image", np.zeros(size, np.int64)) for size in ((2, 4, 1), (3, 2, 1)))
    found = asked("lumina_dimoo", Part("text", "a"), first, last, answer="image")
    assert [len(found.segments[at]) for at in found.generated()] == [2, 2, 2]


def test_what_a_picture_is_for_is_one_of_a_few_words() -> None:
    tokenizer = opened("lumina_dimoo")[0]
    for edit, parts in (("sketch", (Part("image", np.zeros((2, 2, 1), np.int64)),)), ("view", ())):
        with pytest.raises(UsageError, match=rf"^edit '{edit}': expected one of edit, control, "):
            conversation(tokenizer, [Turn("user", parts)], "image", edit)
    with pytest.raises(UsageError, match=r"^edit: only Lumina-DiMOO draws from a given picture"):
        conversation(opened("mmada")[0], [Turn("user", ())], "image", "view")


GUIDED = [name for name, run in all_runs().items() if "un_x" in of_run(run.family, run.recorded)]


@pytest.mark.parametrize("name", GUIDED)
def test_every_prompt_without_a_condition_is_as_recorded(name: str) -> None:
    """At every step: the answer so far, behind what guidance compares with."""
    run = all_runs()[name]
    found, tokenizer = of_run(run.family, run.recorded), opened(run.family)[0]
    (at,) = run.sequence.generated()
    modality, row = run.sequence.segments[at].modality, run.row
    for step, expected in enumerate(found["un_x"][:, row]):
        held = run.states[step].reshape(run.sequence.segments[at].tokens.shape)
        (bare,) = unconditional(
            run.sequence.with_tokens(at, held.astype(np.int64)), modality, tokenizer, 64
        )
        ours = ids(run.family, bare)
        # rows of a batch are padded on the left
        np.testing.assert_array_equal(ours, expected[len(expected) - len(ours) :])


@pytest.mark.parametrize("name", ["t2i", "t2i_cache", "t2i_nocache", "paint_run", "i2i"])
def test_luminas_prompts_without_a_condition_are_as_recorded(name: str) -> None:
    found, tokenizer = of_run("lumina_dimoo", name), opened("lumina_dimoo")[0]
    model = EdgeModel.from_checkpoint(imported("lumina_dimoo"))
    run = next(run for run in lumina_image_runs(model) if run.name == name)
    names = ("uncond_text_x", "uncond_image_x") if name == "i2i" else ("uncond_x",)
    for step, state in enumerate(run.states[:-1]):
        sequence, start = run.sequence, 0
        for at in sequence.generated():
            row = state[start : start + len(sequence.segments[at])]
            sequence, start = (
                sequence.with_tokens(at, row[:, None].astype(np.int64)),
                start + len(row),
            )
        branches = unconditional(sequence, "image", tokenizer, 64)
        for branch, other in zip(branches, names, strict=True):
            np.testing.assert_array_equal(ids("lumina_dimoo", branch), found[other][step])


def test_luminas_double_newlines_are_not_ours() -> None:
    """The script that was run breaks the lines twice, and loses the image's end. Lumina-DiMOO's
    training and evaluation break them once, as we do."""
    golden = arrays("lumina_dimoo")
    once = golden["mmu.image_tokens_single"]
    twice = [np.append(once[2 * row : 2 * row + 2], once[3]) for row in range(4)]
    np.testing.assert_array_equal(np.concatenate(twice), golden["mmu.image_tokens"])
    question = Part("text", read("lumina_dimoo", "texts.json")["question"])
    given = image("lumina_dimoo", "mmu.image_tokens_single", 4)
    found = ids("lumina_dimoo", asked("lumina_dimoo", question, given, length=12))
    start = int(np.flatnonzero(found == once[0])[0])
    np.testing.assert_array_equal(found[start : start + len(once)], once)
    theirs = [found[:start], golden["mmu.image_tokens"], found[start + len(once) :]]
    np.testing.assert_array_equal(np.concatenate(theirs), golden["mmu.prompt"][0])
    cut = len(once) - len(golden["mmu.image_tokens"])
    assert golden["mmu.code_start"] == golden["mmu_single.code_start"] - cut


TRAINED = (
    Turn("user", (Part("text", "what is shown"),)), Turn("assistant", (Part("text", "six"),)),
)  # fmt: skip


def test_mmadas_training_sequences() -> None:
    """A picture described, a picture reasoned about, and a dialogue."""
    golden, (tokenizer, config) = arrays("mmada"), opened("mmada")
    codes = np.arange(16) + (config.image.offset or 0)
    seen = described(tokenizer, codes, TRAINED, 64)
    for name, found in (("ids", seen.ids), ("mask", seen.given), ("labels", seen.labels)):
        np.testing.assert_array_equal(found, golden[f"prompt.mmu.{name}"][0])
    np.testing.assert_array_equal(seen.ids, golden["prompt.mmu_gen.ids"][0])
    mask = golden["prompt.mmu_gen.mask"][0]  # theirs ends too early
    np.testing.assert_array_equal(seen.given[: len(mask)], mask)
    drawn = reasoned(tokenizer, codes, TRAINED, 64)
    np.testing.assert_array_equal(drawn.ids, golden["prompt.r2i.ids"][0])
    np.testing.assert_array_equal(drawn.given, golden["prompt.r2i.mask"][0])
    said = dialogue(tokenizer, TRAINED, 48)
    np.testing.assert_array_equal(said.ids, golden["prompt.lm.ids"][0])
    np.testing.assert_array_equal(said.given, golden["prompt.lm_chat.mask"][0])


def test_what_is_no_training_sequence_is_refused() -> None:
    mmada, llada = opened("mmada")[0], opened("llada")[0]
    with pytest.raises(UsageError, match=r"^template llada: these are MMaDA's"):
        dialogue(llada, TRAINED, 48)
    with pytest.raises(UsageError, match=r"ends with the assistant's turn; add its answer$"):
        dialogue(mmada, TRAINED[:1], 48)
    with pytest.raises(UsageError, match=r"^a dialogue of \d+ ids, room for 8; shorten it$"):
        dialogue(mmada, TRAINED, 8)
