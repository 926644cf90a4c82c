"""Published checkpoints referred to by name maps: what is used, what is refused, and that nothing
is copied or run."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from nextomni_edge.checkpoints.directory import INDEX, Checkpoint, open_import
from nextomni_edge.checkpoints.importing import ImportReport, import_model
from nextomni_edge.checkpoints.pickled import embedding_table
from nextomni_edge.checkpoints.record import RECORD
from nextomni_edge.errors import InputError, UsageError
from nextomni_edge.models import networks
from nextomni_edge.models.networks import expected_shapes
from tests.models.fudoki_oracle import FOLDER, fudoki_source
from tests.sources import ROOT
from tests.tiny import tiny_model


def imported(source: Path, out: Path, **options: Any) -> ImportReport:
    return import_model(source, out, expected_shapes, **options)


def refused(source: Path, out: Path, *words: str, layout: str = "auto") -> str:
    """One sentence, and nothing is left behind."""
    before = sorted(out.parent.iterdir())
    with pytest.raises(InputError) as caught:
        imported(source, out, layout=layout)
    assert sorted(out.parent.iterdir()) == before
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line
    return line


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return fudoki_source(tmp_path / "source")


def test_an_import_names_the_source_s_tensors_and_copies_none(source: Path, tmp_path: Path) -> None:
    report = imported(source, tmp_path / "model")
    assert report.layout == "fudoki" and report.tensors == 354
    # of our own there are the two converted metric tables alone
    assert report.referenced > 40 * report.copied
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json",
        RECORD,
        "metric_tables.safetensors",
    ]
    theirs, ours = load_file(source / "model.safetensors"), Checkpoint.open(tmp_path / "model")
    np.testing.assert_array_equal(
        ours.tensor("text_head.weight"), theirs["language_model.lm_head.weight"]
    )
    location = ours.location("image_encoder.tower.positions")
    assert location.file == source / "model.safetensors" and location.shape == (16, 40)


def test_every_source_tensor_is_used_or_listed_with_its_reason(
    source: Path, tmp_path: Path
) -> None:
    report = imported(source, tmp_path / "model")
    record = json.loads((tmp_path / "model" / RECORD).read_text())
    used = {piece["tensor"] for origin in record["tensors"].values() for piece in origin["pieces"]}
    names = load_file(source / "model.safetensors").keys()
    assert names <= used | report.unused.keys() and not used & report.unused.keys()
    assert all(len(reason) > 10 for reason in report.unused.values())
    assert report.unused["text_embedding.pt"] == "converted to metric_tables.safetensors"


def test_a_copy_needs_the_source_no_more(source: Path, tmp_path: Path) -> None:
    imported(source, tmp_path / "model", copy=True)
    shutil.rmtree(source)
    (tmp_path / "model").rename(tmp_path / "moved")
    assert isinstance(networks.load(tmp_path / "moved"), networks.FudokiModel)


def test_a_metric_table_that_is_the_embedding_is_not_stored_again(
    source: Path, tmp_path: Path
) -> None:
    table = load_file(source / "model.safetensors")["language_model.model.embed_tokens.weight"]
    torch.save(
        torch.nn.Embedding.from_pretrained(torch.from_numpy(table)), source / "text_embedding.pt"
    )
    report = imported(source, tmp_path / "model")
    assert (
        report.unused["text_embedding.pt"]
        == "the same numbers as language_model.model.embed_tokens.weight"
    )
    checkpoint = Checkpoint.open(tmp_path / "model")
    assert checkpoint.location("metric_tables.text") == checkpoint.location("embed_text.weight")
    stored = load_file(tmp_path / "model" / "metric_tables.safetensors")
    assert list(stored) == ["metric_tables.image"]


def test_a_native_model_is_referred_to_as_it_is(tmp_path: Path) -> None:
    tiny_model(tmp_path / "native")
    report = imported(tmp_path / "native", tmp_path / "model")
    assert report.layout == "native" and not report.unused and report.copied == 0
    first, second = (
        dict(networks.load(tmp_path / name).state_dict()) for name in ("native", "model")
    )
    assert first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def rewrite(source: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    tensors = load_file(source / "model.safetensors")
    change(tensors)
    save_file(tensors, source / "model.safetensors")


def test_a_missing_tensor_is_named_with_what_was_expected(source: Path, tmp_path: Path) -> None:
    rewrite(source, lambda tensors: tensors.pop("gen_head.vision_head.weight"))
    refused(
        source,
        tmp_path / "model",
        "tensor gen_head.vision_head.weight is missing, expected with shape (128, 64)",
    )


def test_a_misshapen_tensor_is_named_with_what_was_expected(source: Path, tmp_path: Path) -> None:
    rewrite(
        source,
        lambda tensors: tensors.update({"aligner.layers.0.weight": np.zeros((64, 41), np.float32)}),
    )
    refused(
        source,
        tmp_path / "model",
        "aligner.layers.0.weight has shape (64, 41), config.json asks for (64, 40)",
    )


def test_a_tensor_that_no_rule_knows_is_not_passed_over(source: Path, tmp_path: Path) -> None:
    rewrite(
        source, lambda tensors: tensors.update({"language_model.lora": np.zeros(3, np.float32)})
    )
    refused(source, tmp_path / "model", "tensor language_model.lora is not known to layout fudoki")


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        ("language_config", "hidden_size", 80, "config.json asks for (80,)"),
        (
            "language_config",
            "num_hidden_layers",
            3,
            "tensor language_model.model.layers.2.input_layernorm.weight is missing",
        ),
        ("language_config", "vocab_size", 380, "shape (384, 64), config.json asks for (380, 64)"),
        (
            "language_config",
            "vocab_size",
            "many",
            "vocab_size is 'many', expected a positive whole number",
        ),
        (
            "language_config",
            "num_attention_heads",
            0,
            "num_attention_heads is '0', expected a positive whole number",
        ),
        (
            "language_config",
            "num_attention_heads",
            7,
            "hidden_size must be a multiple of query_heads",
        ),
        (
            "language_config",
            "rope_scaling",
            {"type": "linear", "factor": 2},
            "scaled rotary positions are not supported",
        ),
    ],
)
def test_a_config_that_disagrees_is_one_sentence(
    source: Path, tmp_path: Path, section: str, key: str, value: object, words: str
) -> None:
    config = json.loads((source / "config.json").read_text())
    config[section][key] = value
    (source / "config.json").write_text(json.dumps(config))
    refused(source, tmp_path / "model", words)


def shard(source: Path) -> list[Path]:
    """Split the weights in two files with an index."""
    tensors = load_file(source / "model.safetensors")
    names, half = sorted(tensors), len(tensors) // 2
    files = {
        "model-00001-of-00002.safetensors": names[:half],
        "model-00002-of-00002.safetensors": names[half:],
    }
    for file, part in files.items():
        save_file({name: tensors[name] for name in part}, source / file)
    weight_map = {name: file for file, part in files.items() for name in part}
    (source / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (source / "model.safetensors").unlink()
    return [source / file for file in files]


def test_shards_are_read_as_their_index_says(source: Path, tmp_path: Path) -> None:
    whole = load_file(source / "model.safetensors")["gen_embed.weight"]
    shard(source)
    imported(source, tmp_path / "model")
    np.testing.assert_array_equal(
        Checkpoint.open(tmp_path / "model").tensor("embed_image.table"), whole
    )


def test_a_missing_shard_is_one_sentence(source: Path, tmp_path: Path) -> None:
    shard(source)[1].unlink()
    refused(source, tmp_path / "model", "model-00002-of-00002.safetensors", "No such file")


def test_a_truncated_shard_is_one_sentence(source: Path, tmp_path: Path) -> None:
    cut = shard(source)[1]
    cut.write_bytes(cut.read_bytes()[:-100])
    refused(source, tmp_path / "model", "model-00002-of-00002.safetensors", "the file at")


def test_a_file_that_changed_since_the_import_is_found(source: Path, tmp_path: Path) -> None:
    imported(source, tmp_path / "model")
    weights = source / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(
        InputError,
        match=r"model.safetensors: sha256 [0-9a-f]{64}, [0-9a-f]{64} when it was imported",
    ):
        Checkpoint.open(tmp_path / "model").sha256()
    weights.write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"bytes, \d+ when .* was imported"):
        Checkpoint.open(tmp_path / "model")
    weights.unlink()
    with pytest.raises(InputError, match="no such file"):
        Checkpoint.open(tmp_path / "model")


def test_a_source_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text('{"model_type": "mamba"}')
    save_file({"a": np.zeros(3, np.float32)}, source / "model.safetensors")
    refused(source, tmp_path / "model", "model_type 'mamba', which tells no layout")
    with pytest.raises(UsageError, match="layout 'fudoky': did you mean 'fudoki'"):
        imported(source, tmp_path / "model", layout="fudoky")
    refused(tmp_path / "nothing", tmp_path / "model", "no such folder")
    refused(source, tmp_path / "model", "no object 'language_config'", layout="fudoki")


class Touch:
    """Pickles as a call of a function that leaves a mark."""

    mark: Path

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def repacked(path: Path, content: bytes) -> None:
    """The archive with another pickle in it."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, content if name.endswith("data.pkl") else data)


def genuine(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


def hostile_pickles(mark: Path, real: bytes) -> dict[str, bytes]:
    shell = b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR."
    return {
        "a call": pickle.dumps(Touch(mark), protocol=2),
        "a call by protocol 4": pickle.dumps(Touch(mark), protocol=4),
        "a shell command": shell,
        "a call before the real table": shell[:-1] + b"0" + real,
        "a call after the real table": real[:-1] + b"0" + shell,
        "an instance of a class": b"(S'touch " + str(mark).encode() + b"'\nios\nsystem\n.",
        "builtins": b"c__builtin__\neval\n(S'1'\ntR.",
        "an inner attribute": pickle.dumps(torch.nn.Embedding.from_pretrained, protocol=4),
    }


@pytest.mark.usefixtures("within_bounds")
@pytest.mark.parametrize("which", list(hostile_pickles(Path("x"), b"..")))
def test_a_pickle_of_anything_else_is_refused_before_its_code_runs(
    source: Path, tmp_path: Path, which: str
) -> None:
    table, mark = source / "text_embedding.pt", tmp_path / "mark"
    content = hostile_pickles(mark, genuine(table))[which]
    if which in ("a call", "a shell command"):
        pickle.loads(content)
        assert mark.exists()  # it does what it says where it is let
        mark.unlink()
    repacked(table, content)
    line = refused(source, tmp_path / "model", "text_embedding.pt", "none of it was run")
    assert not mark.exists(), line


@pytest.mark.usefixtures("within_bounds")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a whole pickle"),
        (b"\x80\x02}.", "not a pickled torch.nn.Embedding"),
        (b"\x80\x02(", "not a whole pickle"),
        (b"\x80\x02ccollections\nOrderedDict\n)R.", "not a pickled torch.nn.Embedding"),
        (
            b"\x80\x02ctorch.nn.modules.sparse\nEmbedding\n)\x81}X\x0b\x00\x00\x00_parameters}X\x06\x00\x00\x00weightK\x01ssb.",
            "two axes",
        ),
        (b"x" * 70_000, "too large a one"),
    ],
)
def test_a_pickle_that_is_no_embedding_is_one_sentence(
    source: Path, tmp_path: Path, content: bytes, words: str
) -> None:
    repacked(source / "text_embedding.pt", content)
    refused(source, tmp_path / "model", words)


def test_files_that_are_no_archive_are_one_sentence(source: Path, tmp_path: Path) -> None:
    (source / "image_embedding.pt").write_bytes(pickle.dumps(Touch(tmp_path / "mark")))
    refused(source, tmp_path / "model", "not an archive of torch.save")
    torch.save(
        torch.nn.Embedding(4, 3),
        source / "image_embedding.pt",
        _use_new_zipfile_serialization=False,
    )
    refused(source, tmp_path / "model", "must be saved again")
    (source / "image_embedding.pt").unlink()
    refused(source, tmp_path / "model", "image_embedding.pt: cannot be read")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_pickled_table_is_read_as_torch_reads_it(tmp_path: Path, dtype: torch.dtype) -> None:
    embedding = torch.nn.Embedding(7, 5, dtype=dtype)
    torch.save(embedding, tmp_path / "table.pt")
    found = embedding_table(tmp_path / "table.pt").values()
    np.testing.assert_array_equal(found, embedding.weight.detach().float().numpy())


def test_a_table_that_is_not_finite_or_of_another_shape_is_refused(
    source: Path, tmp_path: Path
) -> None:
    table = torch.nn.Embedding(128, 8)
    table.weight.data[3, 1] = torch.nan
    torch.save(table, source / "image_embedding.pt")
    refused(
        source, tmp_path / "model", "image_embedding.pt: the table has values that are not finite"
    )
    torch.save(torch.nn.Embedding(127, 8), source / "image_embedding.pt")
    refused(
        source, tmp_path / "model", "the table has shape (127, 8), config.json asks for (1, 128, 8)"
    )
    view = torch.nn.Embedding.from_pretrained(torch.randn(8, 128).T)
    torch.save(view, source / "image_embedding.pt")
    refused(source, tmp_path / "model", "the table is a view into other numbers")


def entry(path: Path, name: str, data: bytes, **changes: Any) -> None:
    """The archive with one more entry, some of whose header's fields are changed."""
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo(name)
        info.compress_type = changes.pop("compression", zipfile.ZIP_STORED)
        archive.writestr(info, data)
        for field, value in changes.items():
            setattr(archive.filelist[-1], field, value)


BOMBS: dict[str, Callable[[Path], None]] = {
    "a deflated bomb": lambda path: entry(
        path, "e/data/1", bytes(2**27), compression=zipfile.ZIP_DEFLATED
    ),
    "an encrypted entry": lambda path: entry(path, "e/data/1", b"x" * 99, flag_bits=1),
    "an unknown compression": lambda path: entry(path, "e/data/1", b"x" * 99, compress_type=99),
    "lzma": lambda path: entry(path, "e/data/1", bytes(9999), compression=zipfile.ZIP_LZMA),
    "bzip2": lambda path: entry(path, "e/data/1", bytes(9999), compression=zipfile.ZIP_BZIP2),
    "many entries": lambda path: [  # type: ignore[func-returns-value]
        entry(path, f"e/data/{index}", b"x") for index in range(1, 99)
    ],
    "a second pickle": lambda path: entry(path, "f/data.pkl", b"\x80\x02}."),
    "a memo of gigabytes": lambda path: repacked(path, b"\x80\x02}r\xff\xff\xff\x7f."),
    "a memo beyond 32 bits": lambda path: repacked(path, b"\x80\x02}r\xff\xff\xff\xff."),
    "a long text": lambda path: repacked(path, b"\x80\x02X\xff\xff\xff\x7fab."),
    "nested hashing": lambda path: repacked(
        path,
        b"\x80\x02}K\x01K\x01\x86q\x00"
        + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(60))
        + b"K\x01s.",
    ),
    "hashing by dup": lambda path: repacked(path, b"\x80\x02}K\x01" + b"2\x86" * 60 + b"K\x01s."),
    "deep tuples": lambda path: repacked(path, b"\x80\x02}K\x01" + b"\x85" * 60_000 + b"K\x01s."),
    "a list in itself": lambda path: repacked(path, b"\x80\x02]q\x00" + b"h\x00a" * 3000 + b"."),
}


@pytest.mark.usefixtures("within_bounds")
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_table_that_would_grow_or_hang_is_one_sentence(
    source: Path, tmp_path: Path, bomb: str
) -> None:
    """In a process of its own, of 1.5 GB beside what PyTorch maps, in 10 seconds of processor."""
    path = source / "text_embedding.pt"
    BOMBS[bomb](path)
    script = (
        "import resource, sys, time\n"
        "import torch\n"
        "from pathlib import Path\n"
        "from nextomni_edge.checkpoints.pickled import embedding_table\n"
        "from nextomni_edge.errors import InputError\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 10,) * 2)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    embedding_table(Path(sys.argv[1]))\n"
        "except InputError as error:\n    print(error)\n"
        "assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_500_000\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"{path}: ") and ended.stdout.count("\n") == 1, ended.stdout
    assert refused(source, tmp_path / "model", "text_embedding.pt: ")


def test_the_fixture_is_the_released_layout() -> None:
    """The two tables of the golden folder are what torch.save of a recent torch writes."""
    with zipfile.ZipFile(io.BytesIO((FOLDER / "text_embedding.pt").read_bytes())) as archive:
        assert archive.testzip() is None
    assert embedding_table(FOLDER / "text_embedding.pt").shape == (384, 64)


def test_a_record_that_does_not_fit_its_files_is_refused(source: Path, tmp_path: Path) -> None:
    imported(source, tmp_path / "model")
    path = tmp_path / "model" / RECORD
    record = json.loads(path.read_text())
    for change, words in (
        ({"version": 2}, "version"),
        ({"extra": 1}, "unknown key 'extra'"),
        ({"files": {}}, "not listed under files"),
        (
            {"tensors": record["tensors"] | {"text_head.weight": {"shape": [3], "pieces": []}}},
            "cannot be made of 0 pieces",
        ),
        (
            {
                "tensors": record["tensors"]
                | {"text_head.weight": {**record["tensors"]["text_head.weight"], "shape": [3]}}
            },
            "expected (3,)",
        ),
    ):
        path.write_text(json.dumps(record | change))
        with pytest.raises(InputError) as caught:
            open_import(tmp_path / "model")
        assert words in str(caught.value)
