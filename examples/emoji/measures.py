"""What `make eval` measures: every function asks the model about its items and says of each whether
the answer was right.

Answers in words must be the exact name. Pictures, films and sounds are named by the judges
(judges.py), never by the model itself.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from augment import COLOURS
from changes import UNCHANGED, as_drawings, changed_films, changed_pictures, told
from dataset import Emoji
from exam import Exam, Outcome
from poses import MOTIONS, SIZES, Floats, Ints
from prompts import (
    FRAMES,
    GENERATION_VOICES,
    WHAT_HAPPENS,
    WHAT_IS_THIS,
    WHAT_WAS_SAID,
    draw_prompt,
    film_prompt,
    make_it,
    now,
    say_prompt,
)
from samples import heldout_pairs, trained_pairs, unmet

from nextomni_edge.tokens.chat import Kind, Part, Turn


def _exact(items: list[str], expected: list[str], answers: list[str]) -> list[Outcome]:
    return [
        Outcome(item, name, said, said == name)
        for item, name, said in zip(items, expected, answers, strict=True)
    ]


def _drawing_rows(emoji: Emoji) -> tuple[Ints, list[str], list[str]]:
    rows = np.arange(len(emoji.drawing_concept))
    rows = rows[emoji.drawing_heldout] if emoji.drawing_heldout.any() else rows
    names = [emoji.concepts[c] for c in emoji.drawing_concept[rows]]
    return (
        rows,
        names,
        [
            f"{name} by {emoji.artists[a]}"
            for name, a in zip(names, emoji.drawing_artist[rows], strict=True)
        ],
    )


def _clip_rows(emoji: Emoji) -> tuple[Ints, list[str], list[str]]:
    rows = emoji.clips_of(heldout=True)
    names = [emoji.concepts[c] for c in emoji.clip_concept[rows]]
    return (
        rows,
        names,
        [
            f"{name} by {emoji.voices[v]}"
            for name, v in zip(names, emoji.clip_voice[rows], strict=True)
        ],
    )


def _words(parts: list[Part]) -> list[str]:
    return [str(part.value).strip() for part in parts]


def _name_drawings(exam: Exam, emoji: Emoji) -> list[Outcome]:
    rows, names, items = _drawing_rows(emoji)
    prompts = [(picture, Part("text", WHAT_IS_THIS)) for picture in exam.pictures(emoji, rows)]
    return _exact(items, names, _words(exam.answers("text", prompts, 1)))


def image_to_text_heldout_artist(exam: Exam) -> list[Outcome]:
    """Drawings by an artist never seen for that concept: the exact name."""
    return _name_drawings(exam, exam.unseen)


def image_to_text_unmet_artist(exam: Exam) -> list[Outcome]:
    """Drawings of a set of which training saw none: the exact name."""
    return _name_drawings(exam, unmet())


def image_to_text_train(exam: Exam) -> list[Outcome]:
    """Drawings out of the training split: the exact name."""
    return _name_drawings(exam, exam.seen)


def _transcribe(exam: Exam, emoji: Emoji) -> list[Outcome]:
    rows, names, items = _clip_rows(emoji)
    prompts = [(sound, Part("text", WHAT_WAS_SAID)) for sound in exam.sounds(emoji, rows)]
    return _exact(items, names, _words(exam.answers("text", prompts, 1)))


def audio_to_text_heldout_voice(exam: Exam) -> list[Outcome]:
    """Clips by the voice never heard: the exact name."""
    return _transcribe(exam, exam.unseen)


def audio_to_text_unmet_voice(exam: Exam) -> list[Outcome]:
    """Clips by a synthesiser of which training heard no voice: the exact name."""
    return _transcribe(exam, unmet())


def _retrieval(exam: Exam, media: list[Part], names: list[str], kind: str) -> list[Outcome]:
    """One item of each concept against the names, both directions pooled: is the nearest embedding
    that of the same concept?

    Asked as often as every concept has another item, so that each is asked about in a pool of one
    item per concept.
    """
    pool = sorted(set(names), key=names.index)
    places = [[place for place, name in enumerate(names) if name == concept] for concept in pool]
    texts, embedded = exam.embeddings([Part("text", name) for name in pool]), exam.embeddings(media)
    outcomes: list[Outcome] = []
    for chosen in zip(*places, strict=False):
        cosines = texts @ embedded[list(chosen)].T
        for way, nearest in (
            (f"text → {kind}", cosines.argmax(1)),
            (f"{kind} → text", cosines.argmax(0)),
        ):
            outcomes += _exact(
                [f"{name}, {way}" for name in pool], pool, [pool[index] for index in nearest]
            )
    return outcomes


def retrieval_text_image_r1(exam: Exam) -> list[Outcome]:
    """64 names against 64 held-out drawings, both directions."""
    rows, names, _ = _drawing_rows(exam.unseen)
    return _retrieval(exam, exam.pictures(exam.unseen, rows), names, "image")


def retrieval_text_audio_r1(exam: Exam) -> list[Outcome]:
    """64 names against 64 clips by the held-out voice, both directions, at each of its paces."""
    rows, names, _ = _clip_rows(exam.unseen)
    return _retrieval(exam, exam.sounds(exam.unseen, rows), names, "audio")


def _spread(pairs: list[tuple[str, str]], rounds: int) -> list[tuple[str, str]]:
    """`rounds` pairs of every concept, the makers taken in turn from one concept to the next."""
    makers: dict[str, list[str]] = {}
    for name, maker in pairs:
        makers.setdefault(name, []).append(maker)
    return [
        (name, own[(at + index) % len(own)])
        for at in range(rounds)
        for index, (name, own) in enumerate(makers.items())
    ]


def _draw(exam: Exam, pairs: list[tuple[str, str]]) -> list[Outcome]:
    prompts = [draw_prompt(*pair) for pair in pairs]
    answers = exam.answers("image", [(Part("text", prompt),) for prompt in prompts])
    return _exact(prompts, [name for name, _ in pairs], exam.seen_in(answers))


def text_to_image_named(exam: Exam) -> list[Outcome]:
    """Pictures drawn to order, in styles that training had for the concept, named by the judge."""
    return _draw(exam, _spread(trained_pairs(), exam.rounds))


def text_to_image_named_unseen_style(exam: Exam) -> list[Outcome]:
    """The same in the held-out artist's style, which the model knows from other concepts alone."""
    return _draw(exam, heldout_pairs())


def text_to_audio_transcribed(exam: Exam) -> list[Outcome]:
    """Words spoken to order, transcribed by the judge."""
    pairs = _spread(
        [(name, voice) for name in exam.panel.concepts for voice in GENERATION_VOICES], exam.rounds
    )
    prompts = [say_prompt(*pair) for pair in pairs]
    answers = exam.answers("audio", [(Part("text", prompt),) for prompt in prompts])
    return _exact(prompts, [name for name, _ in pairs], exam.heard_in(answers))


def text_to_video_named(exam: Exam) -> list[Outcome]:
    """Films to order, one for each concept; the judge's probabilities are averaged over the
    frames."""
    pairs = _spread(trained_pairs(), 1)
    prompts = [
        film_prompt(name, MOTIONS[i % len(MOTIONS)], artist)
        for i, (name, artist) in enumerate(pairs)
    ]
    answers = exam.answers("video", [(Part("text", prompt),) for prompt in prompts], FRAMES)
    named = [
        exam.panel.pictures(exam.model.decode_image(film.value)).mean(axis=0).argmax()
        for film in answers
    ]
    return _exact(prompts, [name for name, _ in pairs], [exam.panel.concepts[c] for c in named])


def video_to_text_heldout_artist(exam: Exam) -> list[Outcome]:
    """Held-out drawings under a motion: the exact name and motion."""
    rows, names, items = _drawing_rows(exam.unseen)
    kinds = [MOTIONS[i % len(MOTIONS)] for i in range(len(rows))]
    films = {kind: exam.frames(exam.unseen, rows, kind) for kind in MOTIONS}
    parts = [Part("video", exam.model.encode_image(films[kind][i])) for i, kind in enumerate(kinds)]
    answers = exam.answers("text", [(part, Part("text", WHAT_HAPPENS)) for part in parts], 1)
    said = [f"{name} {kind}" for name, kind in zip(names, kinds, strict=True)]
    return _exact(
        [f"{item}, {kind}" for item, kind in zip(items, kinds, strict=True)], said, _words(answers)
    )


def audio_to_image_named(exam: Exam) -> list[Outcome]:
    """Clips by the held-out voice, drawn, named by the judge."""
    rows, names, items = _clip_rows(exam.unseen)
    styles = dict(_spread(trained_pairs(), 1))
    sounds = exam.sounds(exam.unseen, rows)
    prompts = [
        (sound, Part("text", f"draw it, {styles[name]} style"))
        for sound, name in zip(sounds, names, strict=True)
    ]
    return _exact(items, names, exam.seen_in(exam.answers("image", prompts)))


def audio_to_image_via_text(exam: Exam) -> list[Outcome]:
    """The same clips in two generations, as `run --via text`: what was said, and a picture of that
    name."""
    rows, names, items = _clip_rows(exam.unseen)
    styles = dict(_spread(trained_pairs(), 1))
    asked = [(sound, Part("text", WHAT_WAS_SAID)) for sound in exam.sounds(exam.unseen, rows)]
    said = _words(exam.answers("text", asked, 1))
    prompts = [
        (Part("text", draw_prompt(word, styles[name])),)
        for word, name in zip(said, names, strict=True)
    ]
    return _exact(items, names, exam.seen_in(exam.answers("image", prompts)))


def image_to_audio_via_text(exam: Exam) -> list[Outcome]:
    """Held-out drawings named, and the name said."""
    rows, names, items = _drawing_rows(exam.unseen)
    asked = [(each, Part("text", WHAT_IS_THIS)) for each in exam.pictures(exam.unseen, rows)]
    words = _words(exam.answers("text", asked, 1))
    prompts = [
        (Part("text", say_prompt(word, GENERATION_VOICES[i % len(GENERATION_VOICES)])),)
        for i, word in enumerate(words)
    ]
    return _exact(items, names, exam.heard_in(exam.answers("audio", prompts)))


def image_to_audio_transcribed(exam: Exam) -> list[Outcome]:
    """Held-out drawings, said, transcribed by the judge."""
    rows, names, items = _drawing_rows(exam.unseen)
    pictures = exam.pictures(exam.unseen, rows)
    voices = [GENERATION_VOICES[i % len(GENERATION_VOICES)] for i in range(len(rows))]
    prompts = [
        (picture, Part("text", f"say it, {voice} voice"))
        for picture, voice in zip(pictures, voices, strict=True)
    ]
    return _exact(items, names, exam.heard_in(exam.answers("audio", prompts)))


def two_turns_changed(exam: Exam) -> list[Outcome]:
    """A drawing to order, and in the next turn another size, colour or a motion of it: the asked
    change of that very picture (changes.py)."""
    pairs = _spread(trained_pairs(), 1)
    names, size = [name for name, _ in pairs], exam.model.config.image.side
    orders = [Turn("user", (Part("text", draw_prompt(*pair)),)) for pair in pairs]
    first = exam.replies("image", [(order,) for order in orders])
    drawn = as_drawings(exam.decoded(first), names)
    pictures, films = changed_pictures(drawn, size), changed_films(drawn, size)
    asked: tuple[tuple[Kind, list[str], dict[str, Floats]], ...] = (
        ("image", [now(word) for word in SIZES], pictures),
        ("image", [make_it(colour) for colour in COLOURS], pictures),
        ("video", [now(motion) for motion in MOTIONS], films),
    )
    outcomes: list[Outcome] = []
    for kind, changes, candidates in asked:
        prompts = [changes[i % len(changes)] for i in range(len(pairs))]
        turns = [
            (order, Turn("assistant", (picture,)), Turn("user", (Part("text", prompt),)))
            for order, picture, prompt in zip(orders, first, prompts, strict=True)
        ]
        answers = exam.replies(kind, turns, FRAMES if kind == "video" else None)
        seen = exam.decoded(answers).reshape(candidates[UNCHANGED].shape) / 2 + np.float32(0.5)
        expected = [f"{name}, {prompt}" for name, prompt in zip(names, prompts, strict=True)]
        outcomes += _exact(expected, expected, told(seen, prompts, names, candidates))
    return outcomes


def image_codec_named(exam: Exam) -> list[Outcome]:
    """Training drawings through the model's encoder and decoder, named by the judge: the ceiling of
    what can be drawn."""
    rows, names, items = _drawing_rows(exam.seen)
    return _exact(items, names, exam.seen_in(exam.pictures(exam.seen, rows)))


def audio_codec_transcribed(exam: Exam) -> list[Outcome]:
    """Held-out clips through the model's encoder and decoder, transcribed by the judge: a ceiling
    of what can be said."""
    rows, names, items = _clip_rows(exam.unseen)
    return _exact(items, names, exam.heard_in(exam.sounds(exam.unseen, rows)))


MEASURES: dict[str, Callable[[Exam], list[Outcome]]] = {
    measure.__name__: measure
    for measure in (
        image_to_text_heldout_artist, image_to_text_train, audio_to_text_heldout_voice,
        image_to_text_unmet_artist, audio_to_text_unmet_voice, two_turns_changed,
        retrieval_text_image_r1, retrieval_text_audio_r1, text_to_image_named,
        text_to_audio_transcribed, text_to_video_named, text_to_image_named_unseen_style,
        video_to_text_heldout_artist, audio_to_image_named, image_to_audio_transcribed,
        audio_to_image_via_text, image_to_audio_via_text, image_codec_named,
        audio_codec_transcribed,
    )
}  # fmt: skip
