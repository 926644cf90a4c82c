"""Omni-Diffusion's folders that are not whole, or do not fit each other: one sentence each."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nextomni_edge.checkpoints.importing import import_model
from nextomni_edge.checkpoints.layouts.speech import cmvn
from nextomni_edge.checkpoints.pickled import state_dict
from nextomni_edge.checkpoints.yaml_config import read_yaml
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.models.networks import expected_shapes
from tests.calls import Invoke, refused
from tests.published.models import omnidiffusion


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the whole folder, to change."""
    return Path(shutil.copytree(omnidiffusion(), tmp_path / "source"))


def imported(source: Path) -> None:
    import_model(source, source.parent / "out", expected_shapes)


def test_every_missing_part_is_named(source: Path, invoke: Invoke) -> None:
    for part in ("magvitv2", "glm4voice_tokenizer", "glm4voice_decoder"):
        shutil.rmtree(source / part)
    refused(
        invoke("import", source, "-o", source.parent / "out"), 3,
        "no folder of image_tokenizer (vqvae), speech_tokenizer (glm-4-voice-tokenizer),"
        " speech_decoder (glm-4-voice-decoder): put it there, or name each with --part"
        " image_tokenizer=FOLDER",
    )  # fmt: skip
    assert not (source.parent / "out").exists()


def test_parts_are_named_by_the_user(source: Path, invoke: Invoke) -> None:
    moved = shutil.move(source / "glm4voice_decoder", source.parent / "voice")
    out = source.parent / "out"
    result = invoke("import", source, "-o", out, "--part", f"speech_decoder={moved}", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["layout"] == "omnidiffusion"
    refused(
        invoke("import", source, "-o", out, "--overwrite", "--part", "speech_decode=x"), 2,
        "part 'speech_decode': did you mean 'speech_decoder'?",
    )  # fmt: skip
    refused(
        invoke("import", source, "-o", out, "--overwrite", "--part", "voice"), 2,
        "--part 'voice': expected a name and a folder, NAME=FOLDER",
    )  # fmt: skip
    with pytest.raises(InputError, match="no such folder, expected the part sensevoice"):
        parts = {"sensevoice": source / "none", "speech_decoder": Path(moved)}
        import_model(source, out, expected_shapes, overwrite=True, parts=parts)


def edited(path: str, old: str, new: str) -> Callable[[Path], None]:
    def change(source: Path) -> None:
        text = (source / path).read_text()
        assert old in text
        (source / path).write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (edited("glm4voice_tokenizer/preprocessor_config.json", '"sampling_rate": 16000',
                '"sampling_rate": 24000'),
         "a rate of 24000 Hz, but the model hears 16000 Hz"),
        (edited("glm4voice_decoder/config.yaml", "sampling_rate: 22050", "sampling_rate: 24000"),
         "a decoder of 24000 Hz, but the model speaks at 22050 Hz"),
        (edited("glm4voice_decoder/config.yaml", "input_frame_rate: 12.5",
                "input_frame_rate: 25"),
         "a speech decoder of 25 codes a second, but the model speaks 12.5"),
        (edited("sensevoice/config.yaml", "fs: 16000", "fs: 8000"), "fs is '8000', expected 16000"),
        (edited("sensevoice/config.yaml", "lfr_m: 7", "lfr_m: 5"),
         "560 numbers behind <AddShift>, expected 400 finite ones"),
        (edited("glm4voice_tokenizer/config.json", '"pooling_position": 2',
                '"pooling_position": 3'), "pooling_position differs from quantize_position"),
        (edited("glm4voice_tokenizer/config.json", '"encoder_causal_convolution": true',
                '"encoder_causal_convolution": false'),
         "encoder_causal_convolution is 'False', expected True"),
        (edited("tokenizer.json", "<|audio_63|>", "<|audio_99|>"),
         "64 codes <|audio_0|> and so on, 63 of them in a row"),
        (edited("glm4voice_decoder/config.yaml", "n_fft: 16", "n_fft: 20"),
         "an n_fft of 20, but hift.pt is made for 16"),
        (edited("glm4voice_decoder/config.yaml", "solver: 'euler'", "solver: 'midpoint'"),
         "solver is 'midpoint', expected 'euler'"),
    ],
)  # fmt: skip
def test_a_part_of_another_kind_is_named(
    source: Path, change: Callable[[Path], None], sentence: str
) -> None:
    change(source)
    with pytest.raises(InputError) as caught:
        imported(source)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (source.parent / "out").exists()


class Harmful:
    """A pickle of it would run a program."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("run",))


def test_a_pickle_of_more_than_tensors_is_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "flow.pt"
    torch.save({"a": Harmful()}, path)
    with pytest.raises(InputError, match=r"the pickle names '.*print', expected only dict of"):
        state_dict(path)
    torch.save(OrderedDict(a=torch.zeros(2), b=3), path)
    with pytest.raises(InputError, match="'b' is no tensor, expected a dict of tensors"):
        state_dict(path)
    torch.save({"a": torch.zeros(1).expand(1000)}, path)
    with pytest.raises(InputError, match="tensor a repeats numbers"):
        state_dict(path)
    torch.save([torch.zeros(2)], path)
    with pytest.raises(InputError, match="found list, expected a dict of tensors"):
        state_dict(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InputError, match=r"not an archive of torch\.save"):
        state_dict(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02" + b"]" * 3_000_000)
    with pytest.raises(InputError, match="too large a one, expected one of at most 2097152 bytes"):
        state_dict(path)
    assert "run" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["flow.pt", "hift.pt"])
def test_a_damaged_pickle_is_one_sentence(source: Path, name: str) -> None:
    path = source / "glm4voice_decoder" / name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"not an archive of torch\.save"):
        imported(source)
    tensors = torch.load(omnidiffusion() / "glm4voice_decoder" / name, weights_only=True)
    key = next(each for each in tensors if each.endswith("bias"))
    torch.save({**tensors, key: tensors[key] * float("nan")}, path)
    with pytest.raises(InputError, match=f"{key} has values that are not finite"):
        imported(source)
    del tensors[key]
    torch.save(tensors, path)
    with pytest.raises(InputError, match=f"tensor {key} is missing"):
        imported(source)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no row of numbers behind <AddShift>"),
        ("<AddShift> [ 1 2", "no row of numbers behind <AddShift>"),
        ("<AddShift> [ 1 2 ] <Rescale> [ 1 ]", "1 numbers behind <Rescale>, expected 2 finite"),
        ("<AddShift> [ 1 nan ] <Rescale> [ 1 1 ]", "behind <AddShift>, expected 2 finite ones"),
        ("<AddShift> [ 1 x ]", "no row of numbers behind <AddShift>"),
    ],
)
def test_means_and_deviations_that_are_none(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "am.mvn").write_text(text)
    with pytest.raises(InputError, match=sentence):
        cmvn(tmp_path / "am.mvn", 2)


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("a: !new:os.system\n  command: ls\nb: !apply:os.system [x]\nc: !ref <a>\n")
    assert read_yaml(path) == {"a": {"command": "ls"}, "b": ["x"], "c": "<a>"}
    for text, sentence in (
        ("a: &x [1]\nb: *x\n", "an alias"), ("a: [1", "not YAML"), ("- 1\n", "found list"),
        ("a: !!python/object:os.system {}\n", "not YAML"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(InputError, match=sentence):
            read_yaml(path)


def test_the_layouts_of_its_family_refuse_it(source: Path) -> None:
    with pytest.raises(InputError, match="leave --layout out, or name omnidiffusion"):
        import_model(source, source.parent / "out", expected_shapes, layout="dream")
    with pytest.raises(UsageError, match="did you mean 'omnidiffusion'"):
        import_model(source, source.parent / "out", expected_shapes, layout="omnidifusion")
