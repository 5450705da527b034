"""What users read uses the field's words: the pages, and the strings and docstrings of the code.

A word that has a right meaning too has a pattern that leaves this meaning out. Text in backquotes
and code is not looked at, but comments in the code of pages are.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COUNTED = "one|numbers?|inputs?|row|line|object|matrix|dataclass|file|factor|draw"
EACH = "parameter|unit|layer|finding|kind|method|row|gate|step|rank|tensor|process|node|head|group"
# Regular expressions, in any case, and what to write instead. Everywhere:
WORDS = {
    r"(?<!power )(?<!scaling )\blaws?\b": "distribution",
    r"\bspreads?\b": "sharded, distributed, or standard deviation",
    r"\bby heart\b": "memorize",
    r"\b(?:told|tells?|telling) (?:\w+ )?apart\b": "distinguish",
    r"\bat first\b(?! (?:use|reading|sight))": "at initialization",
    r"\blikeness\b": "correlation, similarity",
    r"\b(?:is|are|was|were) fed\b|\bfed by\b": "its input",
    r"\bwith a stroke\b": "underscore",
    r"\bof no account\b": "does not matter",
    r"\bown affair\b": "say who decides",
    r"\bborne out\b": "confirmed",
    r"\bmended\b": "fixed",
}
# In pages:
PLAIN = {
    r"\bfeeds\b": "its input",
    r"\bdrown(?:s|ed)?\b": "is much larger than",
    r"\banew\b": "again, new",
    r"(?<!where to )\b(?:goes|go|going|went) on\b(?! to)": "continue",
    r"\bstands? (?:beside|beneath|there)\b": "say where it is",
    r"\bsome \d": "about",
    r"\b(?:is|are) told\b": "is reported",
    r"\brefus(?:e|es|ed|al)\b": "raise an error",
    r"\b(?:none|nothing) but\b|\bbut for\b|\bsave for\b": "only, except",
    r"\bwhoever\b": "who",
    rf"\b(?:{COUNTED}) an? (?:{EACH})\b": "for each",
}

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += [ROOT / "benchmarks" / "results.md"]
PAGES += [page for page in sorted((ROOT / "docs").rglob("*.md")) if page.parent.name != "decisions"]
CODE = sorted((ROOT / "src").rglob("*.py"))
BLOCK = re.compile(r"^```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Names in code, titles, links, and the names of arguments in docstrings.
NAMES = r"`[^`\n]*`|\*[A-Z][^*\n]*\*|\]\([^)]*\)|https?://\S+|\w+=|^ +\w+(?=: )"
QUOTED = re.compile(NAMES, re.MULTILINE)


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def in_page(text):
    """The prose of a page, and the comments of its code."""
    return BLOCK.sub(lambda block: "\n".join(re.findall(r"# .*", block[1])), text)


def in_code(text):
    """Docstrings, and every other string of more than one word."""
    strings = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
    return "\n\n".join(text for text in strings if isinstance(text, str) and " " in text)


def found(text, words):
    """What is not the field's word, and what to write instead."""
    text = " ".join(QUOTED.sub("", text).split())
    for pattern, instead in words.items():
        for match in re.finditer(pattern, text, re.IGNORECASE):
            around = text[max(0, match.start() - 40) : match.end() + 20]
            yield f"{match[0]!r} → {instead}: …{around}…"


@pytest.mark.parametrize("path", [*PAGES, *CODE], ids=name_of)
def test_the_words_are_the_fields(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        words = list(found(in_code(text), WORDS))
    else:
        words = list(found(in_page(text), WORDS | PLAIN))
    assert not words, "\n".join(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("two samples of one law", 1),
        ("a power law, and `law`", 0),
        ("a model that is spread over processes", 1),
        ("samples that can be told\napart", 1),
        ("what a weight is fed at first", 2),
        ("at first use", 0),
        ("one number a parameter", 1),
        ("They go on to train; it goes on.", 1),
    ],
)
def test_words_are_found(text, words):
    assert len(list(found(text, WORDS | PLAIN))) == words
