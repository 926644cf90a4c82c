"""The demo page: plain functions from what is shown to HTML. One file, nothing loaded from
elsewhere."""

from __future__ import annotations

import base64
import html
import io
import string
from typing import Any

import numpy as np
import soundfile
from catalog import HERE
from gallery import Example, Forming, Grid, Shown, Task
from PIL import Image
from poses import Floats

from nextomni_edge.media.image import to_bytes

TEMPLATE = HERE / "page.html"
FRAME_MILLISECONDS, BARS = 220, 48
SIGN = (
    '<svg class="sign" viewBox="0 0 16 16" aria-hidden="true">'
    '<path class="play" d="M3 1v14l11-7z"/>'
    '<rect class="stop" x="3" y="3" width="10" height="10"/></svg>'
)


def render(title: str, **parts: str) -> str:
    """The template with its places filled; a place without a part, or a part without a place, is an
    error."""
    return string.Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=html.escape(title), **parts
    )


def data_uri(mime: str, content: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def png(pixels: Floats) -> str:
    """Pixels (3,H,W) in [-1,1] as a PNG."""
    file = io.BytesIO()
    Image.fromarray(to_bytes(pixels), "RGB").save(file, "PNG", optimize=True)
    return data_uri("image/png", file.getvalue())


def webp(frames: Floats) -> str:
    """Frames (F,3,H,W) in [-1,1] as an animation that repeats."""
    pictures = [Image.fromarray(to_bytes(frame), "RGB") for frame in frames]
    file = io.BytesIO()
    pictures[0].save(
        file,
        "WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=FRAME_MILLISECONDS,
        loop=0,
        lossless=True,
        quality=80,
    )
    return data_uri("image/webp", file.getvalue())


def flac(waveform: Floats, rate: int = 16_000) -> str:
    """A waveform as FLAC, which every current browser plays."""
    file = io.BytesIO()
    soundfile.write(file, np.clip(waveform, -1, 1), rate, format="FLAC", subtype="PCM_16")
    return data_uri("audio/flac", file.getvalue())


def waveform_svg(waveform: Floats) -> str:
    """The loudness of a sound as bars."""
    peaks = np.abs(waveform[: len(waveform) // BARS * BARS]).reshape(BARS, -1).max(axis=1)
    heights = 2 + 26 * np.sqrt(peaks / max(float(peaks.max()), 1e-6))
    bars = "".join(
        f'<rect x="{3 * i}" y="{15 - h / 2:.1f}" width="2" height="{h:.1f}" rx="1"/>'
        for i, h in enumerate(heights)
    )
    return (
        f'<svg class="wave" viewBox="0 0 {3 * BARS} 30" preserveAspectRatio="none"'
        f' aria-hidden="true">{bars}</svg>'
    )


def shown(item: Shown, label: str = "") -> str:
    """One thing as HTML."""
    if item.kind == "text":
        return f'<p class="said">{html.escape(str(item.value)) or "<i>nothing</i>"}</p>'
    if item.kind == "audio":
        inside = (
            f"{SIGN}{waveform_svg(item.value)}"
            f'<audio preload="metadata" src="{flac(item.value)}"></audio>'
        )
        return (
            '<button class="sound" type="button" aria-label="play'
            f' {html.escape(label)}">{inside}</button>'
        )
    source = png(item.value) if item.kind == "image" else webp(item.value)
    return f'<img src="{source}" alt="{html.escape(label)}">'


def example(found: Example) -> str:
    """A small conversation with the verdict beneath. The verdict is about the last turn: what the
    model said before stays as it is."""
    label = next((str(item.value) for _, item in found.turns if item.kind == "text"), "")
    roles = [role for role, _ in found.turns]
    roles[-1] += " judged"
    turns = "".join(
        f'<div class="{role} {item.kind}">{shown(item, label)}</div>'
        for role, (_, item) in zip(roles, found.turns, strict=True)
    )
    state = {True: "right", False: "wrong", None: ""}[found.right]
    verdict = html.escape(found.verdict) or ("right" if found.right else "")
    return f'<figure class="{state}">{turns}<figcaption>{verdict}</figcaption></figure>'


def task(found: Task, weakness: str = "") -> str:
    """A section: title, what it shows, why the direction is weak where it is, its examples."""
    judged = [e.right for e in found.examples if e.right is not None]
    count = f'<span class="count">{sum(judged)} of {len(judged)}</span>' if judged else ""
    name = (
        found.title.lower()
        .replace(" → ", "-to-")
        .replace(":", "")
        .replace(",", "")
        .replace(" ", "-")
    )
    examples = "".join(example(e) for e in found.examples)
    heading = f"<h2>{html.escape(found.title)} {count}</h2><p>{html.escape(found.explanation)}</p>"
    if weakness:
        heading += f'<p class="weak">{html.escape(weakness)}</p>'
    return f'<section id="{name}">{heading}<div class="examples">{examples}</div></section>'


def forming(found: list[Forming]) -> str:
    """Pictures on their way from noise, one row each."""
    rows = []
    for one in found:
        label = html.escape(one.prompt)
        stages = "".join(
            f'<figure><img src="{png(pixels)}" alt="{label} at t ='
            f' {t:.2f}"><figcaption>{t:.2f}</figcaption></figure>'
            for t, pixels in one.moments
        )
        rows.append(
            '<div class="strip"><p'
            f' class="said">{html.escape(one.prompt)}</p><div>{stages}</div></div>'
        )
    return "".join(rows)


def grid(found: Grid) -> str:
    """Cosines as a heat map; the nearest in each row is ringed, the right ones lie on the
    diagonal."""
    heads = "".join(
        f'<th scope="col">{shown(item, name)}</th>'
        for item, name in zip(found.media, found.names, strict=True)
    )
    low, high = float(found.cosines.min()), float(found.cosines.max())
    rows = []
    for i, (name, cosines) in enumerate(zip(found.names, found.cosines, strict=True)):
        cells = "".join(
            f'<td class="{"nearest" if j == int(cosines.argmax()) else ""}'
            f' {"own" if i == j else ""}" '
            f'style="--heat:{max(0.0, (float(c) - low) / max(high - low, 1e-6)) ** 2:.2f}">'
            f"{c:.2f}</td>"
            for j, c in enumerate(cosines)
        )
        rows.append(f'<tr><th scope="row">{html.escape(name)}</th>{cells}</tr>')
    hits = int((found.cosines.argmax(1) == np.arange(len(found.names))).sum())
    title = (
        f'<h3>{html.escape(found.title)} <span class="count">{hits} of'
        f" {len(found.names)}</span></h3>"
    )
    body = f"<thead><tr><td></td>{heads}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'{title}<div class="wide"><table class="grid">{body}</table></div>'


def table(heads: list[str], rows: list[list[Any]]) -> str:
    """A plain table; numbers stand right."""
    top = "".join(f'<th scope="col">{html.escape(head)}</th>' for head in heads)
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return (
        '<div class="wide"><table'
        f' class="plain"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, float):
        return f'<td class="number">{value:.4g}</td>'
    return (
        f'<td class="number">{value:,}</td>'
        if isinstance(value, int)
        else f"<td>{html.escape(str(value))}</td>"
    )


def facts(pairs: list[tuple[str, str]]) -> str:
    """A few figures to begin with."""
    return "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in pairs
    )
