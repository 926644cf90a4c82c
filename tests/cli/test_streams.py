"""Standard streams that are closed, full, endless or no text: none is our fault, none loses
finished work."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from nextomni_edge.cli.streams import argument_text
from nextomni_edge.errors import UsageError
from tests.cli.process import PROGRAM
from tests.sources import ROOT

FULL = "standard output cannot be written (No space left on device); free some space or choose"
CLOSED = "standard input is closed; give the text itself, or open standard input"
UNDECODED = "not UTF-8 text ('utf-8' codec can't decode byte"
LONG = "more than 1048576 bytes of text, the most that is read"


def shell(line: str, bundle: Path, folder: Path, **more: str) -> tuple[int, str, str]:
    """A command as a shell runs it: N is the program, B the bundle. Memory is bounded: 6 GB of
    addresses hold every library and a small model."""
    env = {**os.environ, "N": " ".join(PROGRAM), "B": str(bundle), "TMPDIR": str(folder), **more}
    found = subprocess.run(
        ["bash", "-c", f"ulimit -v 6000000; {line}"],
        cwd=ROOT,
        env=env | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        timeout=200,
    )
    out, err = (each.decode("utf-8", "replace") for each in (found.stdout, found.stderr))
    assert "Traceback" not in err and "fault of the program" not in err, err
    return found.returncode, out, err


@pytest.mark.parametrize(
    ("line", "code", "error"),
    [
        ("$N run $B --text cat --steps 2 >&-", 0, ""),
        ("$N run $B --text cat --steps 2 2>&-", 0, ""),
        ("$N run $B --text cat --steps 2 <&-", 0, ""),
        ("$N run $B --text cat --steps 2 <&- >&- 2>&-", 0, ""),
        ("$N run $B --text cat --steps 2 2>/dev/full", 0, ""),
        ("$N inspect $B --json >/dev/full", 2, f"{FULL} another place"),
        ("$N --help >/dev/full", 2, "cannot be written (No space left on device)"),
        ("$N run $B --text - --steps 2 <&-", 2, CLOSED),
        ("$N chat $B --steps 2 <&-", 2, CLOSED),
        ("$N run $B --text - </dev/zero", 3, f"standard input: {LONG}"),
        ("$N chat $B --steps 2 </dev/zero", 3, f"a line of standard input: {LONG}"),
        (
            r"printf 'a\xff' | $N run $B --text -", 3,
            f"standard input: {UNDECODED} 0xff in position 1: invalid start byte)",
        ),
        (
            r"$N run $B --text $(printf 'a\xff')", 2,
            f"--text: {UNDECODED} 0xff in position 1: invalid start byte)",
        ),
        (
            r"$N embed $B --text $(printf '\xed\xa0\x80')", 2,
            f"--text: {UNDECODED} 0xed in position 0: invalid continuation byte)",
        ),
        ("$N run $B --text a --to image -o - >&-", 2,
         "standard output is closed; name a file with -o"),
        ("$N run $B --image '~nobody-here/a.png'", 3, "~nobody-here/a.png: no such file"),
        ("$N inspect '~nobody-here/b'", 3,
         "~nobody-here/b: no such directory; expected a bundle"),
    ],
)  # fmt: skip
def test_streams_that_are_closed_full_or_no_text(
    line: str, code: int, error: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    found, _, err = shell(line, tiny_bundle, tmp_path)
    told = [each for each in err.splitlines() if each.startswith("error: ")]
    assert (found, told) == (code, [f"error: {error}"] if error else [])


def test_an_answer_that_stdout_does_not_take_is_not_lost(tiny_bundle: Path, tmp_path: Path) -> None:
    _, expected, _ = shell("$N run $B --text cat --steps 2", tiny_bundle, tmp_path)
    code, _, err = shell("$N run $B --text cat --steps 2 >/dev/full", tiny_bundle, tmp_path)
    assert code == 2 and err == f"{expected}error: {FULL} another place\n"
    code, _, err = shell("$N run $B --text a --to image --steps 2 -o - >/dev/full", tiny_bundle,
                         tmp_path)  # fmt: skip
    (kept,) = tmp_path.glob("*.png")
    assert code == 2 and err == f"error: {FULL} another place; the answer is in {kept}\n"
    assert kept.read_bytes().startswith(b"\x89PNG")


def test_a_reader_that_left_is_no_fault(tiny_bundle: Path, tmp_path: Path) -> None:
    for line in ("$N --help", "$N inspect $B --json", "yes | $N chat $B --steps 2"):
        code, _, err = shell(f"set -o pipefail; {line} | true", tiny_bundle, tmp_path)
        assert (code, err) == (141, "")


@pytest.mark.parametrize("threads", ["1000000", "-5", "1e9", "9" * 5000])
def test_no_number_of_threads_is_our_fault(threads: str, tiny_bundle: Path, tmp_path: Path) -> None:
    line = "$N run $B --text cat --steps 2"
    code, out, err = shell(line, tiny_bundle, tmp_path, OMP_NUM_THREADS=threads)
    assert (code, err) == (0, "") and out


def test_a_text_is_the_same_in_every_locale(tiny_bundle: Path, tmp_path: Path) -> None:
    """The C locale makes halves of characters of an argument; the bytes are UTF-8 all the same."""
    line = "$N embed $B --text 'é猫' | cut -f 2"
    c = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    assert shell(line, tiny_bundle, tmp_path, **c) == shell(line, tiny_bundle, tmp_path)


def test_a_byte_order_mark_is_no_part_of_a_prompt(tiny_bundle: Path, tmp_path: Path) -> None:
    plain, marked = tmp_path / "plain.txt", tmp_path / "marked.txt"
    plain.write_text("a cat", encoding="utf-8")
    marked.write_text("a cat", encoding="utf-8-sig")
    line = f"$N embed $B {marked} {plain} --text $'\\ufeffa cat' | cut -f 2 | uniq | wc -l"
    assert shell(line, tiny_bundle, tmp_path) == (0, "1\n", "")
    piped = "$N run $B --steps 2 --text - < "
    assert shell(f"{piped}{marked}", tiny_bundle, tmp_path) == shell(
        f"{piped}{plain}", tiny_bundle, tmp_path
    )


@pytest.mark.parametrize("closed", ["0", "1", "2", "0 1 2"])
def test_a_file_never_takes_the_number_of_a_closed_stream(closed: str, tmp_path: Path) -> None:
    """Or a library's line would be written into somebody's file."""
    script = (
        "import os\nfrom nextomni_edge.cli.streams import open_closed\n"
        f"[os.close(int(n)) for n in {closed!r}.split()]\nopen_closed()\n"
        f"number = os.open({str(tmp_path / 'x')!r}, os.O_CREAT | os.O_WRONLY)\n"
        f"os.write(number, str(number).encode())"
    )
    subprocess.run([PROGRAM[0], "-c", script], cwd=ROOT, check=True)
    assert int((tmp_path / "x").read_text()) > 2


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), ("\ufeffa", "a"), ("\udcc3\udca9", "é"), ("a\ufeff", "a\ufeff"), ("", "")],
)
def test_an_argument_becomes_text(value: str, text: str) -> None:
    assert argument_text(value, "--text") == text


@pytest.mark.parametrize("value", ["\udcff", "\ud800", "\udce9a", "a\udfff"])
def test_halves_of_characters_are_no_text(value: str) -> None:
    with pytest.raises(UsageError, match="--text: not UTF-8 text"):
        argument_text(value, "--text")
