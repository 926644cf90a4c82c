"""Omni-Diffusion's prompts, sampler, backbone and answers, array by array, and its recorded runs in
PyTorch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from nextomni_edge.calibration.data.collect import Prompted
from nextomni_edge.decoding import CommitConfig
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.flow.commit import propose
from nextomni_edge.flow.penalty import nearer_first, without_repeats
from nextomni_edge.generate.batch import Batch
from nextomni_edge.generate.options import GenerationOptions
from nextomni_edge.spec import Wire
from nextomni_edge.tokens.chat import Part, Turn
from nextomni_edge.tokens.omnidiffusion import codes, content, conversation, respond
from tests.published.goldens import FOLDER, Array, arrays, close, read
from tests.published.models import omnidiffusion_model as model
from tests.published.models import omnidiffusion_network as network
from tests.published.omnidiffusion_bounds import omnidiffusion_rows
from tests.published.omnidiffusion_runs import OmniRun, prompt, prompt_ids, runs
from tests.published.runs import all_runs

HEARD, MASK = 342, 322  # ids of context_of_audio and of the mask
NEVER_SPELLED = (299, 321, MASK)
TRAJECTORIES = read("omnidiffusion", "traj.json")
DREAMS = [name for name, run in all_runs().items() if run.family == "dream"]


@pytest.mark.parametrize("run", list(runs()), ids=lambda run: run.name)
def test_a_recorded_run_repeats_state_for_state(run: OmniRun) -> None:
    run.check(model())


def test_every_bound_of_the_page_holds_for_omnidiffusion() -> None:
    found = list(omnidiffusion_rows())
    assert [row for row in found if not row[1] <= row[2]] == []
    assert len(found) == 35


@pytest.mark.parametrize("name", DREAMS)
def test_dreams_runs_repeat_on_this_model(name: str) -> None:
    all_runs()[name].check(model())


@pytest.mark.parametrize("name", list(TRAJECTORIES["prompts"]))
def test_every_prompt_has_the_recorded_ids(name: str) -> None:
    golden = arrays("omnidiffusion")
    found = prompt_ids(prompt(model(), name), HEARD)
    np.testing.assert_array_equal(found, golden[f"traj.{name}.prompt_ids"])
    np.testing.assert_array_equal(found, TRAJECTORIES["prompts"][name]["prompt_ids"])
    if f"traj.{name}.audio_positions" in golden:
        places = np.flatnonzero(found == HEARD)
        np.testing.assert_array_equal(places, golden[f"traj.{name}.audio_positions"])


def said(*parts: Part, answer: str = "text") -> list[int]:
    found = conversation(model().tokenizer, [Turn("user", parts)], answer, config=model().config)
    return [int(token) for token in prompt_ids(found, 343)]


@pytest.mark.parametrize(
    ("name", "parts", "answer"),
    [
        ("plain", [Part("text", "hello")], "text"),
        ("tts", [Part("text", "hello")], "audio"),
        ("asr", [Part("audio", np.zeros((1, 64), np.float32))], "text"),
        ("t2i", [Part("text", "a red cat")], "image"),
        ("vqa", [Part("text", "Is it full?"), Part("image", np.array([[3], [0], [17], [5]]))],
         "text"),
        ("s2i", [Part("audio", np.zeros((1, 64), np.float32))], "image"),
        ("sqa", [Part("audio", np.zeros((1, 64), np.float32))], "audio"),
        ("svqa", [Part("image", np.array([[3], [0], [17], [5]])),
                  Part("audio", np.zeros((1, 64), np.float32))], "audio"),
    ],
)  # fmt: skip
def test_every_task_has_the_recorded_chat(name: str, parts: list[Part], answer: str) -> None:
    """There a sound is one tag, for which markers and rows are put in later."""
    expected = TRAJECTORIES["chat"][name]["ids"]
    found = said(*parts, answer=answer)
    start, end = model().tokenizer.special.around("audio")
    assert [token for token in found if token not in (start, end)] == expected


def test_a_conversation_holds_what_was_answered() -> None:
    """Without the markers around codes, which the recorded string does not have."""
    answer = (Part("text", "the "), Part("audio", np.array([[3], [0]])), Part("text", " text"))
    turns = [Turn("user", (Part("text", "hi"),)), Turn("assistant", answer),
             Turn("user", (Part("text", "and?"),))]  # fmt: skip
    found = conversation(model().tokenizer, turns, "text", config=model().config)
    markers = model().tokenizer.special.around("audio")
    ids = [token for token in prompt_ids(found, HEARD).tolist() if token not in markers]
    assert ids == TRAJECTORIES["chat"]["multi"]["ids"]


def test_the_tokenizer_reads_and_spells_as_theirs() -> None:
    library = Tokenizer.from_file(str(FOLDER / "dream" / "tokenizer.json"))
    for case in TRAJECTORIES["tokenizer_cases"]:
        assert library.encode(case["text"], add_special_tokens=False).ids == case["ids"]
        assert library.decode(case["ids"], skip_special_tokens=False) == case["decoded"]


def test_guidance_compares_with_the_recorded_prompts() -> None:
    """A sound: an empty turn, which is shorter. A text: as many ids in its place, all different,
    and no control token among them."""
    run = {run.name: run for run in runs()}
    told = run["s2i_cfg"].told(model())
    options = GenerationOptions.of(stepper="commit", guidance=2.0)
    batch = Batch([run["s2i_cfg"].sequence(told)], [0])
    ((published,),) = told.without(batch, options)
    np.testing.assert_array_equal(
        published.segments[0].tokens, TRAJECTORIES["s2i_uncond_prompt_ids"]
    )
    assert published.length == batch.sequences[0].length
    assert not published.segments[-1].tokens.any()
    ((ours,),) = model().without(batch, options)
    assert ours.length < published.length
    given = Batch([run["t2i_cfg"].sequence(model())], [3])
    ((other,),) = model().without(given, options)
    recorded = np.array(TRAJECTORIES["t2i_uncond_prompt_ids"])
    drawn = arrays("omnidiffusion")["traj.t2i_cfg.uncond_random_ids"]
    first = next(at for at in range(len(recorded)) if (recorded[at : at + 16] == drawn).all())
    ids = other.segments[0].tokens
    np.testing.assert_array_equal(np.delete(ids, range(first, first + 16)),
                                  np.delete(recorded, range(first, first + 16)))  # fmt: skip
    assert len(set(ids[first : first + 16])) == 16
    assert ids[first : first + 16].max() < model().tokenizer.special.pad


@pytest.mark.parametrize("name", ["penalty_p90k50", "penalty_only"])
def test_repeats_are_weakened_as_recorded(name: str) -> None:
    """Two exempt ids are in the recorded state: the mask, and the 0 of the prompt."""
    golden, settings = arrays("omnidiffusion"), TRAJECTORIES["sampler_variants"][name]
    seen = np.setdiff1d(golden["smp.past_x"].ravel(), [0, MASK])
    rule = CommitConfig(
        "time", "entropy", tempered=True, top_k=settings.get("top_k", 0),
        top_p=settings.get("top_p", 1.0),
    )  # fmt: skip
    found = propose(
        golden["smp.logits"], rule, 0.0, None,
        lambda _, logits: without_repeats(logits, seen, settings["repeat_penalty"]),
    )  # fmt: skip
    np.testing.assert_array_equal(found.x_1, golden[f"smp.{name}.x0"])
    close(found.score, golden[f"smp.{name}.confidence"], 1e-5)


@pytest.mark.parametrize(
    ("name", "score", "top_p", "top_k", "repeat", "position"),
    [
        ("long_maskgit_pos2", "probability", 1.0, 0, 1.0, 2.0),
        ("long_entropy_pos2_p90k50", "entropy", 0.9, 50, 1.0, 2.0),
        ("long_all", "entropy", 0.9, 50, 1.2, 1.7),
    ],
)
def test_rows_behind_the_hundredth_are_weakened_as_recorded(
    name: str, score: str, top_p: float, top_k: int, repeat: float, position: float
) -> None:
    golden = arrays("omnidiffusion")
    seen = np.setdiff1d(golden["smp.past_x"].ravel(), [0, MASK])

    def weaken(part: slice, logits: Array) -> Array:
        weaker = without_repeats(logits, seen, repeat)
        return nearer_first(weaker, np.arange(113)[part], 113, position)

    rule = CommitConfig("time", score, tempered=True, top_k=top_k, top_p=top_p)  # type: ignore[arg-type]
    found = propose(golden["smp.long.logits"], rule, 0.0, None, weaken)
    np.testing.assert_array_equal(found.x_1, golden[f"smp.{name}.x0"])
    close(found.score, golden[f"smp.{name}.confidence"], 1e-5)


@pytest.mark.parametrize("run", list(runs()), ids=lambda run: run.name)
def test_what_a_run_notes_down(run: OmniRun) -> None:
    """Which rows each step writes, with which symbols, and how sure they were."""
    golden = {
        key: arrays("omnidiffusion")[f"traj.{run.name}.{key}"]
        for key in ("states", "n_transfer", "x0", "confidence", "final_ids", "step", "block")
    }
    states = golden["states"]
    written = states[1:] != states[:-1]
    np.testing.assert_array_equal(written.sum(axis=1), golden["n_transfer"])
    np.testing.assert_array_equal(states[1:][written], golden["x0"][written])
    np.testing.assert_array_equal(golden["final_ids"][-states.shape[1] :], states[-1])
    np.testing.assert_array_equal(golden["step"], range(len(written)))
    assert not golden["block"].any()
    seen, _ = run.replay(model())
    for step, record in enumerate(seen):
        masked = golden["x0"][step] >= 0
        np.testing.assert_array_equal(record.x_1[0].reshape(-1)[masked], golden["x0"][step][masked])
        ranked = np.where(masked, golden["confidence"][step], -np.inf)
        most = np.sort(ranked)[::-1][: written[step].sum()]
        np.testing.assert_allclose(np.sort(ranked[written[step]])[::-1], most)


@pytest.mark.parametrize("name", list(TRAJECTORIES["prompts"]))
def test_an_answer_is_split_into_text_codes_of_speech_and_of_a_picture(name: str) -> None:
    case, config = TRAJECTORIES["prompts"][name], model().config
    ids = np.array(case["generated_ids"])
    spoken = codes("audio", ids, config)
    np.testing.assert_array_equal(spoken, case["speech_codes"] or [])
    drawn = content("image", ids, config).value
    own = ids[ids >= 408] - 408
    assert isinstance(drawn, np.ndarray)
    assert drawn.shape == (4, 4, 1)
    np.testing.assert_array_equal(drawn.ravel(), np.append(own, [own[-1]] * 16)[:16])
    # theirs spells control tokens too, which an answer of ours leaves out
    library = Tokenizer.from_file(str(FOLDER / "dream" / "tokenizer.json"))
    text = ids[(ids < 344) & ~np.isin(ids, NEVER_SPELLED)].tolist()
    assert library.decode(text, skip_special_tokens=False) == case["decoded_text"]


def test_an_answer_without_a_code_is_said_to_be_empty() -> None:
    config = model().config
    for kind, what in (("image", "picture"), ("audio", "sound")):
        with pytest.raises(InputError, match=f"holds no code of a {what}"):
            content(kind, np.array([1, 2]), config)
    assert not np.asarray(content("image", np.array([1, MASK]), config).value).any()


@torch.inference_mode()
def test_padding_of_a_batch_is_attended_as_theirs_does_and_not_as_ours() -> None:
    """Theirs pads with zero embeddings that are seen like tokens; ours are not seen."""
    golden, net = arrays("omnidiffusion"), network()
    ids = torch.from_numpy(golden["bb.pad.short_ids"])[None]
    rows = net.embed_text(ids)
    padded = torch.cat((rows, rows.new_zeros(1, 40 - rows.shape[1], rows.shape[2])), dim=1)
    positions, past = torch.arange(40)[None], net.backbone.empty_past(1)
    for attended, expected in (
        (torch.ones(1, 40, dtype=torch.bool), golden["bb.pad.logits"][1]),
        (torch.arange(40)[None] < rows.shape[1], golden["bb.pad.logits_if_masked"]),
    ):
        found = net.text_head(net.backbone(padded, positions, attended, past, past)[0])[0]
        close(found[: rows.shape[1]].numpy(), expected[: rows.shape[1]])
    close(golden["bb.pad.logits"][0], golden["bb.logits"])


@torch.inference_mode()
def test_packed_samples_of_training_see_their_own_segment() -> None:
    golden, net = arrays("omnidiffusion"), network()
    positions = torch.from_numpy(golden["bb.packed.position_ids"])[None]
    real = torch.from_numpy(golden["bb.packed.attention_mask"])[None].bool()
    segment = (positions == 0).cumsum(dim=1)
    mask = (segment[:, :, None] == segment[:, None, :]) & real[:, :, None]
    rows = net.embed_text(torch.from_numpy(golden["bb.packed.ids"])[None])
    past = net.backbone.empty_past(1)
    found = net.text_head(net.backbone(rows, positions, mask, past, past)[0])[0]
    close(found[real[0]].numpy(), golden["bb.packed.logits"][real[0].numpy()])


@pytest.mark.parametrize("name", ["t2i_cfg", "s2i_cfg"])
def test_both_branches_of_guidance_have_the_recorded_logits(name: str) -> None:
    """Of whole sequences in the first step, before the shift: with the condition and without."""
    run = next(run for run in runs() if run.name == name)
    told = run.told(model())
    options = GenerationOptions.of(stepper="commit", guidance=run.settings["cfg"])
    batch = Batch([run.sequence(told)], [0])
    ((other,),) = told.without(batch, options)
    recorded = arrays("omnidiffusion")[f"traj.{name}.raw_cond_uncond_logits_first"]
    for sequence, expected in zip((batch.sequences[0], other), recorded, strict=True):
        hidden = told.backbone(told.sequence_embeddings([sequence]))
        close(told.session("text_head").run({Wire.HIDDEN: hidden})[Wire.LOGITS][0], expected)


def test_guidance_of_what_the_authors_do_not_compare_is_refused() -> None:
    for kind, parts, sentence in (
        ("text", [Part("text", "hello")], "compares pictures only"),
        ("image", [Part("text", "a"), Part("image", np.array([[3]]))], "give one text to draw"),
    ):
        given = conversation(model().tokenizer, [Turn("user", tuple(parts))], kind,
                             config=model().config)  # fmt: skip
        batch = Batch([respond(given, kind, model().config, model().tokenizer)], [0])
        with pytest.raises(UsageError, match=sentence):
            model().without(batch, GenerationOptions.of(stepper="commit", guidance=1.0))


def test_a_calibration_prompt_is_asked_as_a_request_is(tmp_path: Path) -> None:
    turn = {"role": "user", "parts": [{"kind": "text", "value": "a red house"}]}
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps({"task": "draw", "answer": "image", "turns": [turn]}))
    found = Prompted(model(), file).asked(0).sequence
    said = [Turn("user", (Part("text", "a red house"),))]
    expected = conversation(model().tokenizer, said, "image", model().config)
    asked = found.segments[: len(expected)]
    assert [(one.modality, one.tokens.tolist()) for one in asked] == [
        (one.modality, one.tokens.tolist()) for one in expected
    ]
