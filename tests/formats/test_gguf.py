"""GGUF files that are not what export wrote are refused, each with its sentence; llama.cpp is not
even asked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from nextomni_edge.bundle import Bundle, BundleWriter, ComponentRecord
from nextomni_edge.errors import InputError
from nextomni_edge.formats.gguf import check_gguf, read_gguf
from nextomni_edge.graphs import graph_specs
from nextomni_edge.spec import Precision
from tests.bundle.build import fill, small_bundle, small_config
from tests.bundle.damage import manifest, record
from tests.formats.gguf_bytes import gguf_bytes, text, write_gguf

pytestmark = pytest.mark.usefixtures("within_bounds")

SPEC = graph_specs(small_config())["backbone"]
UP = "blk.0.ffn_up.weight"


def check(path: Path, precision: Precision = "float32") -> None:
    assert check_gguf(path, SPEC, small_config().backbone, precision) == set()


def test_a_sound_file_is_taken(tmp_path: Path) -> None:
    check(write_gguf(tmp_path / "b.gguf"))
    tensor = read_gguf(tmp_path / "b.gguf").tensors[UP]
    assert (tensor.type, tensor.shape, tensor.nbytes) == ("F32", (16, 8), 512)


def test_what_the_quantiser_notes_down_is_taken(tmp_path: Path) -> None:
    check(
        write_gguf(
            tmp_path / "b.gguf", keys={"general.file_type": 7, "general.quantization_version": 2}
        )
    )


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"magic": b"GGML"}, "begins with b'GGML', expected b'GGUF'"),
    ({"version": 2}, "GGUF version 2, this release reads 3"),
    (
        {"keys": {"general.architecture": "llama"}},
        "key general.architecture: 'llama', expected 'qwen2'",
    ),
    (
        {"keys": {"qwen2.attention.causal": True}},
        "key qwen2.attention.causal: 'True', expected False",
    ),
    ({"keys": {"qwen2.block_count": 2}}, "key qwen2.block_count: '2', expected 1"),
    (
        {"keys": {"qwen2.rope.freq_base": 1e4}},
        "key qwen2.rope.freq_base: '10000.0', expected 1000000.0",
    ),
    ({"keys": {"qwen2.vocab_size": 2**31}}, "key qwen2.vocab_size: '2147483648', expected 32"),
    (
        {"keys": {"tokenizer.chat_template": "{{ cycler.__init__.__globals__ }}"}},
        "key 'tokenizer.chat_template' is none that",
    ),
    ({"shapes": {UP: (16, 9)}}, r"tensor blk.0.ffn_up.weight: shape \(16, 9\), expected \(16, 8\)"),
    ({"shapes": {"blk.1.ffn_up.weight": (16, 8)}}, "tensor 'blk.1.ffn_up.weight' is unknown"),
    ({"shapes": {UP: (2, 2, 2)}}, "tensor 'blk.0.ffn_up.weight': rank 3, expected 1 or 2"),
    ({"shapes": {UP: (2**40, 8)}, "skip": True}, "is none"),
    ({"kinds": {UP: 1}}, "begins at byte|tensors end at byte"),
    ({"kinds": {UP: 39}}, "tensor 'blk.0.ffn_up.weight': type 39, expected one of F32"),
    ({"kinds": {UP: 8}}, "rows of 8 values are no whole blocks of Q8_0, which have 32"),
    ({"offsets": {UP: 2**40}}, "begins at byte"),
    ({"offsets": {UP: 0}}, "begins at byte"),
]


@pytest.mark.parametrize("case", range(len(WRONG)))
def test_another_file_is_refused(tmp_path: Path, case: int) -> None:
    given, sentence = WRONG[case]
    if given.get("skip"):  # too large to be written: the head alone says it
        sound = gguf_bytes()
        at = sound.index(text(UP)) + len(text(UP)) + 4 + 8
        (tmp_path / "b.gguf").write_bytes(
            sound[:at] + (2**40).to_bytes(8, "little") + sound[at + 8 :]
        )
    else:
        write_gguf(tmp_path / "b.gguf", **given)
    with pytest.raises(InputError, match=sentence) as error:
        check(tmp_path / "b.gguf")
    assert str(error.value).startswith(f"{tmp_path / 'b.gguf'}: ")


def test_every_cut_is_found(tmp_path: Path) -> None:
    sound = gguf_bytes()
    for length in range(0, len(sound), 7):
        (tmp_path / "b.gguf").write_bytes(sound[:length])
        with pytest.raises(InputError):
            check(tmp_path / "b.gguf")
    (tmp_path / "b.gguf").write_bytes(sound + bytes(32))
    with pytest.raises(InputError, match="tensors end at byte"):
        check(tmp_path / "b.gguf")


def test_no_bit_of_the_head_changes_in_silence(tmp_path: Path) -> None:
    sound = gguf_bytes()
    head = sound.index(text(UP)) + 64
    for place in range(head):
        changed = bytearray(sound)
        changed[place] ^= 1 << place % 8
        (tmp_path / "b.gguf").write_bytes(changed)
        with pytest.raises(InputError):
            check(tmp_path / "b.gguf")


def test_a_precision_that_the_file_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="F32, expected F16 in precision float16"):
        check(write_gguf(tmp_path / "b.gguf"), "float16")


def test_a_backbone_that_llama_cpp_would_run_wrongly_is_refused(tmp_path: Path) -> None:
    config = dataclasses.replace(small_config().backbone, attention="causal")
    with pytest.raises(InputError, match=r"attention 'causal', expected 'full' or 'prefix'"):
        check_gguf(write_gguf(tmp_path / "b.gguf"), SPEC, config, "float32")


def mixed_bundle(out: Path) -> Path:
    with BundleWriter(out) as writer:
        writer.add_file("backbone.gguf", gguf_bytes())
        fill(writer, small_config(), gguf={"backbone": ComponentRecord("gguf", "backbone.gguf")})
    return out


def test_a_bundle_may_mix_formats(tmp_path: Path) -> None:
    bundle = Bundle.open(mixed_bundle(tmp_path / "bundle"))
    assert {name for name, part in bundle.manifest.components.items() if part.format == "gguf"} == {
        "backbone"
    }
    assert [tensor.name for tensor in bundle.spec("backbone").inputs] == [
        "embeddings",
        "positions",
        "attention_mask",
    ]
    assert [tensor.name for tensor in bundle.spec("backbone").outputs] == ["hidden"]


def refused(path: Path, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Bundle.open(path)


def test_a_damaged_file_in_a_bundle_is_refused(tmp_path: Path) -> None:
    path = mixed_bundle(tmp_path / "bundle")
    (path / "backbone.gguf").write_bytes(gguf_bytes(version=2))
    refused(path, "has sha256")
    record(path, "backbone.gguf")
    refused(path, "GGUF version 2")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": "onnx"}, r"'backbone.gguf' of format onnx: only gguf uses the ending \.gguf"),
        ({"precision": "q8_0"}, "F32, expected F16 or Q8_0 in precision q8_0"),
        ({"precision": "q2_k"}, "found 'q2_k', expected one of"),
        (
            {"quantisation": {"x": {"scheme": "rows", "operator": "gather", "bits": 8}}},
            "layers listed as quantised; a GGUF file",
        ),
    ],
)
def test_a_record_that_is_not_the_file_s_is_refused(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    path = mixed_bundle(tmp_path / "bundle")
    manifest(lambda data: data["components"]["backbone"].update(change))(path)
    refused(path, sentence)


def test_a_format_in_blocks_is_refused_elsewhere(tmp_path: Path) -> None:
    path = small_bundle(tmp_path / "bundle")
    manifest(lambda data: data["components"]["text_head"].update(precision="q8_0"))(path)
    refused(path, "text_head.onnx: only gguf has precision q8_0")
