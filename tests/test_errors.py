"""Names that cannot be seen, or act on what is around them, are escaped wherever people read them.

Every character below came as a part of a module's and a parameter's name into every place where text
leaves; before, an escape sequence of a name recoloured the terminal, and a lone surrogate raised
`UnicodeEncodeError` where a plan was printed.
"""

import io
import json
import re
import sys
import unicodedata
import warnings

import pytest
import torch
from rich.cells import cell_len
from torch import nn

import isoinit
from isoinit._showing.progress import steps_shown
from isoinit._showing.table import render
from isoinit._writing.entry import Entry
from isoinit.errors import IsoinitError, IsoinitWarning, UnhealthyError, escaped

HOSTILE = [
    *["\x1b[31mred", "\x9b31mc1", "line\nfeed", "re\rturn", "t\tab", "nul\x00"],
    *["\u202egpj", "\u2066iso\u2069", "line\u2028sep", "zero\u200bwidth", "lone\ud800"],
    *["<b>&", "[red]m[/red]", "::error::x%0A", "größe", "中文", "😀"],
]
NAMES = [
    "\x1b[31mred",
    "line\nfeed",
    "\u202egpj",
    "zero\u200bwidth",
    "lone\ud800",
    *HOSTILE[-5:],
    "<b>&",
]
READABLE = ["größe", "中文", "😀", "[red]m[/red]", "<b>&"]
X = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    """A layer, a parameter and a buffer whose names hold a text."""

    def __init__(self, text):
        super().__init__()
        self.text = text
        self.add_module(f"layer{text}", nn.Linear(6, 6))
        self.register_parameter(f"scale{text}", nn.Parameter(torch.zeros(6)))
        self.register_buffer(f"table{text}", torch.ones(6))

    def forward(self, x):
        layer, scale, table = (
            getattr(self, f"{n}{self.text}") for n in ("layer", "scale", "table")
        )
        return torch.relu(layer(x) + scale * table)


def build():
    torch.manual_seed(0)
    model = nn.Sequential()
    for text in NAMES:
        kind = Block
        if "\ud800" not in text:  # which no class may have in its name
            kind = type(f"Block{text}", (Block,), {})
        model.add_module(f"m{text}", kind(text))
    model.add_module("head", nn.Linear(6, 3))
    return model


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def plan(model):
    return isoinit.plan(model, X)


def clean(text, lines=True):
    """Whether a text can be written and holds nothing that acts on its surroundings."""
    assert text.strip()
    text.encode()  # no lone surrogate
    kept = "\n" if lines else ""
    found = [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert not {c for c in found if c not in kept}
    assert not any(line.startswith("feed") for line in text.split("\n"))  # of "line\nfeed"
    return text


# ---------------------------------------------------------------- the function


def test_all_of_unicode_is_shown_or_escaped():
    """What comes out can be encoded and holds none of these; what is printable stays. Three planes."""
    for start in (*range(0, 0x20000, 0x4000), 0xE0000):
        text = "".join(map(chr, range(start, start + 0x4000)))
        shown = escaped(text)
        shown.encode()
        assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
        assert escaped(shown) == shown
        stays = [
            c
            for c in text
            if c.isprintable() and c not in "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
        ]
        assert escaped("".join(stays)) == "".join(stays)
        gone = "".join(c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp"))
        assert escaped(gone).encode().decode("unicode_escape", "surrogatepass") == gone


def test_what_is_kept_stays():
    assert escaped("a\n\tb\r", keep="\n\t") == "a\n\tb\\r"
    assert escaped("größe 中文 😀 [red]") == "größe 中文 😀 [red]"


# ---------------------------------------------------------------- every sink


def test_the_tables_of_a_plan(model, plan):
    for text in (str(plan), plan.show(verbose=True), plan.show(now=model), repr(plan)):
        clean(text)
    whole = re.sub(r"\s", "", plan.show(verbose=True))
    for text in READABLE:
        assert text in whole
    assert r"m\x1b[31mred" in whole


def test_an_explanation(plan):
    for name in plan.entries:
        clean(plan.explain(name))


def test_names_are_keys_and_stay_as_they_are(model, plan, tmp_path):
    plan.save(tmp_path / "plan.json")
    again = isoinit.Plan.load(tmp_path / "plan.json")
    assert list(again.entries) == [name for name, _ in model.named_parameters()]
    again.apply(model, seed=0)
    clean((tmp_path / "plan.json").read_text(encoding="utf-8"))


def test_the_page_of_a_plan(plan):
    """Its data is JSON, whose escapes a browser takes back: what it shows then is looked at."""
    page = plan.to_html()
    clean(page.replace("\t", " ").replace("\r", ""))
    data = re.search(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', page, re.S)[1]

    def look(value):
        for part in value.values() if isinstance(value, dict) else value:
            if isinstance(part, str):
                assert not part or clean(part + ".", lines=False)
            elif isinstance(part, (dict, list)):
                look(part)

    look(json.loads(data))


def test_a_reading(model):
    clean(str(isoinit.read(model, X)))


def test_checks_findings_and_annotations(model):
    broken = build()
    for parameter in broken.parameters():
        nn.init.zeros_(parameter)
    for health in (isoinit.check(model, X), isoinit.check(broken, X)):
        clean(str(health))
        clean(health.show(verbose=True))
        clean(health.to_json())
        for finding in health.findings:
            clean(str(finding), lines=False)
        assert all(line.startswith("::") for line in health.annotations().splitlines())
        clean(health.annotations() or "none")
    with pytest.raises(UnhealthyError) as caught:
        health.raise_if_unhealthy(strict=True)
    clean(str(caught.value))


def test_tensorboard(model):
    class Kept:
        said = ""

        def add_text(self, tag, text, step):
            self.said += f"{tag}\n{text}"

        def add_scalar(self, tag, number, step):
            self.said += tag

    kept = Kept()
    isoinit.check(model, X).log(kept)
    clean(kept.said)


def test_differences(plan):
    other = isoinit.Plan.from_json(plan.to_json())
    other.override({"*layer*weight": isoinit.Normal(std=0.3)})
    clean(str(plan.diff(other)))


def test_an_audit():
    clean(str(isoinit.audit(build)))

    def forgets():
        model = build()
        for block in list(model)[:-1]:
            name = f"scale{block.text}"
            setattr(block, name, nn.Parameter(torch.empty(6)))
        return model

    clean(str(isoinit.audit(forgets)))


def test_a_checkpoint(model, plan, tmp_path):
    folder = tmp_path / "größe\n\u202e"
    with pytest.raises(IsoinitError, match="a safetensors file cannot hold a tensor called") as no:
        isoinit.write_checkpoint(plan, model, folder, seed=0)
    clean(str(no.value))
    clean(str(isoinit.write_checkpoint(plan, model, folder, seed=0, format="dcp")))
    clean(str(isoinit.verify_checkpoint(folder, plan, seed=0)))


@pytest.mark.parametrize("text", HOSTILE)
def test_errors_and_warnings(plan, text):
    name = next(n for n in plan.entries if n.startswith(f"m{text}.") or text not in NAMES)
    for fault in (
        lambda: plan[f"x{text}{name}"],
        lambda: plan.override({name: isoinit.Dirac()}),
        lambda: isoinit.plan(nn.Linear(2, 2), method=text),
        lambda: plan.apply(nn.Linear(6, 6)),
    ):
        with pytest.raises(IsoinitError) as caught:
            fault()
        clean(str(caught.value))
    error = IsoinitError(f"{text} is wrong\n  and goes on")
    assert str(error).endswith("is wrong\n  and goes on")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        warnings.warn(text.replace("\n", ""), IsoinitWarning, stacklevel=1)
    clean(str(seen[0].message))


def test_a_warning_of_an_entry(plan):
    """What is doubtful is a text of the entry, whoever prints it."""
    for entry in plan:
        assert isinstance(entry, Entry)
        assert not entry.warning or clean(entry.warning)
    clean("\n".join([*plan.warnings, *plan.notes, "."]))


def test_progress(monkeypatch):
    """A bar reads no markup in what is done."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with steps_shown(2, visible=True) as step:
        for text in HOSTILE[:2] + HOSTILE[-6:]:
            step(text, 0)
        step("[/red]lone\ud800", 2)
    shown = sys.stderr.getvalue()
    shown.encode()
    assert "\x1b[31mred" not in shown


# ---------------------------------------------------------------- widths


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_columns_stand_below_each_other(columns, monkeypatch):
    """By what a terminal takes for a letter: two columns for Chinese ones, one for the others."""
    monkeypatch.setenv("COLUMNS", str(columns))
    rows = [(f"m{text}.weight", "1×2", "same") for text in HOSTILE]
    lines = clean(render("title", ("name", "shape", "what"), rows)).split("\n")
    assert all(cell_len(line) <= columns for line in lines)
    ends = {cell_len(line) for line in lines if line.endswith("same")}
    assert len(ends) == 1
