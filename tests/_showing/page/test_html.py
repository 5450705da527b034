import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser

import pytest

from isoinit._showing.page import Chart, Curve, Page, Remark, Table, framed, render, save
from isoinit.errors import ArgumentError, escaped
from pages import large

VOID = {"meta", "link", "br", "wbr", "input", "img"}


class Strict(HTMLParser):
    """Every element is closed in order, no attribute stands twice, no text is left over."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.kinds, self.ids = [], {}, [], []
        self.feed(text)
        self.close()
        assert not self.open
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names))
        self.kinds.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(text)


def raw(text):
    """What stands in the element of a page's data."""
    return re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]


def data(text):
    return json.loads(raw(text))


def test_the_file_is_well_formed():
    page = Strict(render(Page("A <b> & more", "healthy")))
    assert page.kinds[0] == ("html", {"lang": "en"})
    assert page.texts["title"] == ["A <b> & more"]
    assert not any({"src", "href", "style"} & set(found) for _, found in page.kinds)


def test_the_policy_lets_run_what_stands_in_the_file_and_nothing_else():
    page = Strict(render(Page("A")))
    (policy,) = [a["content"] for _, a in page.kinds if a.get("http-equiv")]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in page.texts["script"]
    ]
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["script-src"].split() == hashes[1:]  # the first holds the data
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize(
    "name", ["</script><script>alert(1)</script>", "<!--", "&lt;", "\u2028\u2029", "\"'\\"]
)
def test_names_stay_in_the_data(name):
    text = render(Page(name, tables=[Table(name, (name,), [(name,)])]))
    assert not set("<>&\u2028\u2029") & set(raw(text))
    assert data(text)["tables"][0]["rows"] == [[escaped(name)]]


def test_numbers_are_short_and_may_be_no_numbers():
    curve = Curve("a", [1 / 3, None, math.nan, math.inf, -math.inf, 0.0, 12345678.9])
    (chart,) = data(render(Page("A", charts=[Chart("c", "x", "y", [curve])])))["charts"]
    assert chart["curves"][0]["values"] == [0.3333, None, "nan", "inf", "-inf", 0.0, 12350000.0]


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    page = Page("A")
    assert save(page, tmp_path / "a.html") == tmp_path / "a.html"
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == render(page)
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]
    with pytest.raises(ArgumentError, match="no folder"):
        save(page, tmp_path / "b" / "a.html")
    with pytest.raises(ArgumentError, match="is a folder"):
        save(page, tmp_path)


def test_a_frame_holds_the_page_and_lets_it_do_nothing_but_run():
    text = render(Page("It's <A>", remarks=[Remark("note", "a \"b\" & 'c'")]))
    (frame,) = Strict(framed(text)).kinds
    assert frame[0] == "iframe"
    assert frame[1]["sandbox"] == "allow-scripts"
    assert frame[1]["srcdoc"] == text
    assert len(framed(text)) < 1.2 * len(text)


def test_the_licence_goes_along():
    assert "Copyright (c) 2022 Leon Sorokin" in render(Page("A"))


def test_ten_thousand_parameters_of_a_thousand_layers_are_small():
    text = render(large())
    assert len(text.encode()) < 5e6
