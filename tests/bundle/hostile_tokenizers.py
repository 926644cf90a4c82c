"""Tokenizers whose components would panic, grow a text or never end. In an error {b} stands for the
bundle's path."""

from __future__ import annotations

import json

from tests.bundle.damage import Case, Damage, rewrite

T = "{b}/tokenizer.json: "
MODEL = {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}
SPLIT = T + "pre_tokenizer Split: pattern "
NORMALIZERS = (
    "BertNormalizer, ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Prepend, Replace, Sequence, Strip,"
    " StripAccents"
)


def tokenizer(**parts: object) -> Damage:
    added = [{"id": 2, "content": "<|eos|>"}]
    return rewrite(
        "tokenizer.json",
        json.dumps({"model": MODEL, "added_tokens": added} | parts).encode(),
    )


def sequence(*parts: object) -> dict[str, object]:
    return {"type": "Sequence", "normalizers": list(parts)}


def replace(old: str, new: str, kind: str = "String") -> dict[str, object]:
    return {"type": "Replace", "pattern": {kind: old}, "content": new}


def split(pattern: str) -> Damage:
    part = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return tokenizer(pre_tokenizer=part)


def nested(depth: int) -> dict[str, object]:
    part: dict[str, object] = {"type": "NFC"}
    for _ in range(depth):
        part = sequence(part)
    return part


CASES: list[Case] = [
    (
        "a text doubled thirty times",
        tokenizer(normalizer=sequence(*[replace("a", "aa")] * 16)),
        T + "normalizer Replace: 1 characters become 2, expected a text that does not grow",
    ),
    (
        "normalizers without end",
        tokenizer(normalizer=sequence(*[replace("a", "a")] * 30)),
        T + "normalizer: a sequence that is no list of at most 16 parts",
    ),
    (
        "normalizers in one another",
        tokenizer(normalizer=nested(5)),
        T + "normalizer: a sequence that is no list of at most 16 parts",
    ),
    (
        "normalizers spread over sequences",
        tokenizer(normalizer=sequence(*[sequence(*[replace("a", "a")] * 16)] * 2)),
        T + "normalizer of 32 parts, at most 16 are read",
    ),
    (
        "a compiled normalizer",
        tokenizer(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        T + f"normalizer 'Precompiled' is not supported, expected {NORMALIZERS}",
    ),
    (
        "a normalizer that is a number",
        tokenizer(normalizer=7),
        T + "normalizer 7, expected an object",
    ),
    (
        "a megabyte set before each text",
        tokenizer(normalizer={"type": "Prepend", "prepend": "a" * 2**20}),
        T + "normalizer Prepend: prepend is 1048576 characters, expected at most 32 characters",
    ),
    (
        "an empty pattern that stands everywhere",
        tokenizer(normalizer=replace("", "a")),
        T + "normalizer Replace: an empty pattern",
    ),
    (
        "a replacement of a megabyte",
        tokenizer(normalizer=replace("a" * 64, "b" * 2**20)),
        T + "normalizer Replace: content is 1048576 characters, expected at most 16 characters",
    ),
    (
        "a pattern that backtracks",
        split("(a+)+$"),
        SPLIT + "'(a+)+$' repeats a group, which is not supported",
    ),
    (
        "a pattern of two ways",
        split("(?:a|a)*b"),
        SPLIT + "'(?:a|a)*b' repeats a group, which is not supported",
    ),
    (
        "a pattern repeated by numbers",
        split("(a{1,900}){1,900}b"),
        SPLIT + "'(a{1,900}){1,900}b' repeats a group, which is not supported",
    ),
    (
        "a pattern that refers back",
        split("(.)\\1+"),
        SPLIT + "'(.)\\\\1+' has '\\\\1', which is not supported",
    ),
    (
        "a pattern that calls itself",
        split("(a\\g<1>?b)"),
        SPLIT + "'(a\\\\g<1>?b)' has '\\\\g', which is not supported",
    ),
    (
        "a pattern that looks behind",
        split("(?<=a)b"),
        SPLIT + "'(?<=a)b' has '(?', which is not supported",
    ),
    (
        "a pattern of many endless parts",
        split("a*" * 40 + "b"),
        SPLIT + "'" + "a*" * 30 + "' repeats 9 parts without end, at most 8 are read",
    ),
    (
        "a pattern of a megabyte",
        split("a" * 2**20),
        SPLIT.rstrip() + " is 1048576 characters, expected at most 4096 characters",
    ),
    (
        "a pattern of two kinds",
        tokenizer(pre_tokenizer={"type": "Split", "pattern": {"Regex": "a", "String": "(a+)+"}}),
        T + "pre_tokenizer Split: a pattern that is no text",
    ),
    (
        "a template that repeats its text",
        tokenizer(
            post_processor={
                "type": "TemplateProcessing",
                "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 9,
                "pair": [],
                "special_tokens": {},
            }
        ),
        T + "post_processor TemplateProcessing: single repeats its text 9 times, expected once",
    ),
    (
        "a template without end",
        tokenizer(post_processor={"type": "TemplateProcessing", "single": [{}] * 1000}),
        T + "post_processor TemplateProcessing: single is no list of at most 16 pieces",
    ),
    (
        "a decoder unknown",
        tokenizer(decoder={"type": "CTC", "pad_token": "a"}),
        T + "decoder 'CTC' is not supported, expected ByteFallback, ByteLevel, Fuse, Metaspace,"
        " Replace, Sequence, Strip, WordPiece",
    ),
    (
        "a decoder that strips far",
        tokenizer(decoder={"type": "Strip", "content": " ", "start": 2**62, "stop": 0}),
        T + "decoder Strip: start is 4611686018427387904, expected 0 to 16",
    ),
    (
        "a decoder that grows the text",
        tokenizer(decoder=replace("a", "aaaaaaaa")),
        T + "decoder Replace: 1 characters become 8, expected a text that does not grow",
    ),
    (
        "a model unknown",
        tokenizer(model={"type": "Neural", "vocab": {}}),
        T + "model 'Neural' is not supported, expected BPE, Unigram, WordLevel, WordPiece",
    ),
    (
        "a model's type that is a list",
        tokenizer(model={"type": ["BPE"], "vocab": {}}),
        T + "model ['BPE'] is not supported, expected BPE, Unigram, WordLevel, WordPiece",
    ),
    (
        "a model's name with an escape",
        tokenizer(model={"type": "\x1b[2J", "vocab": {}}),
        T + "model '\\x1b[2J' is not supported, expected BPE, Unigram, WordLevel, WordPiece",
    ),
    (
        "words of any length",
        tokenizer(model={"type": "WordPiece", "vocab": {}, "max_input_chars_per_word": 2**62}),
        T + "model WordPiece: max_input_chars_per_word is 4611686018427387904, expected 1 to 4096",
    ),
    (
        "a word of a megabyte",
        tokenizer(model={"type": "BPE", "vocab": {"a" * 2**20: 0}, "merges": []}),
        T + "a word of 1048576 characters, at most 4096 are read",
    ),
    (
        "an added token of a megabyte",
        tokenizer(added_tokens=[{"id": 2, "content": "a" * 2**20}]),
        T + f"an added token is not 1 to 4096 characters of text (found '{'a' * 40}')",
    ),
    (
        "an empty added token",
        tokenizer(added_tokens=[{"id": 2, "content": ""}]),
        T + "an added token is not 1 to 4096 characters of text (found '')",
    ),
    (
        "a tokenizer that is a list",
        rewrite("tokenizer.json", b"[]"),
        "{b}/tokenizer.json: not a tokenizer (no object 'model')",
    ),
    (
        "a tokenizer that is empty",
        rewrite("tokenizer.json", b""),
        "{b}/tokenizer.json: not valid JSON (Expecting value: line 1 column 1 (char 0))",
    ),
    (
        "a tokenizer in UTF-16",
        rewrite("tokenizer.json", json.dumps({"model": MODEL}).encode("utf-16")),
        "{b}/tokenizer.json: not UTF-8 text",
    ),
    (
        "a tokenizer nested 100,000 deep",
        rewrite("tokenizer.json", b"[" * 10**5),
        "{b}/tokenizer.json: nested too deeply",
    ),
    (
        "an id of 2^70",
        tokenizer(model={"type": "WordLevel", "vocab": {"a": 2**70}, "unk_token": "a"}),
        "{b}/tokenizer.json: token id 1180591620717411303424, expected 0 to 5",
    ),
    (
        "an id that is true",
        tokenizer(model={"type": "WordLevel", "vocab": {"a": True}, "unk_token": "a"}),
        "{b}/tokenizer.json: token id True, expected 0 to 5",
    ),
    (
        "an added token that is a number",
        tokenizer(added_tokens=[7]),
        ("{b}/tokenizer.json: an added token is not 1 to 4096 characters of text (found 'None')"),
    ),
    (
        "an added token with id 2^40",
        tokenizer(added_tokens=[{"id": 2**40, "content": "a"}]),
        "{b}/tokenizer.json: token id 1099511627776, expected 0 to 5",
    ),
    (
        "an added token without content",
        tokenizer(added_tokens=[{"id": 2}]),
        ("{b}/tokenizer.json: an added token is not 1 to 4096 characters of text (found 'None')"),
    ),
    (
        "added tokens that are an object",
        tokenizer(added_tokens={}),
        "{b}/tokenizer.json: not a tokenizer (added_tokens is no list)",
    ),
    (
        "a pattern of nested repeats",
        split("((a*)*)*b"),
        (
            "{b}/tokenizer.json: pre_tokenizer Split: pattern '((a*)*)*b' repeats a"
            " group, which is not supported"
        ),
    ),
    (
        "a replacement of a pattern that grows",
        tokenizer(normalizer=replace("a", "bb", "Regex")),
        (
            "{b}/tokenizer.json: normalizer Replace: 1 characters become 2, "
            "expected a text that does not grow"
        ),
    ),
    (
        "a normalizer without a type",
        tokenizer(normalizer=sequence({})),
        (
            "{b}/tokenizer.json: normalizer None is not supported, expected "
            "BertNormalizer, ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Prepend, "
            "Replace, Sequence, Strip, StripAccents"
        ),
    ),
    (
        "a decoder that is a list",
        tokenizer(decoder=[]),
        "{b}/tokenizer.json: decoder [], expected an object",
    ),
    (
        "a post-processor of an unknown kind",
        tokenizer(post_processor={"type": "Shell"}),
        (
            "{b}/tokenizer.json: post_processor 'Shell' is not supported, expected "
            "ByteLevel, Sequence, TemplateProcessing"
        ),
    ),
    (
        "a post-processor that is a number",
        tokenizer(post_processor=7),
        "{b}/tokenizer.json: post_processor 7, expected an object",
    ),
    (
        "a pre-tokenizer of an unknown kind",
        tokenizer(pre_tokenizer={"type": "Shell\x1b[2J"}),
        (
            "{b}/tokenizer.json: pre_tokenizer 'Shell\\x1b[2J' is not supported, "
            "expected BertPreTokenizer, ByteLevel, Digits, Metaspace, Punctuation, "
            "Sequence, Split, Whitespace, WhitespaceSplit"
        ),
    ),
]
