"""The page as a reader meets it, in a real browser."""

import re

import pytest
import torch
from torch import nn

import isoinit
from browser import eventually, opened
from isoinit._showing.page import Page, Table, framed, save
from pages import HOSTILE, compared, folded, large

BACKGROUND, WHITE = "getComputedStyle(document.body).backgroundColor", "rgb(255, 255, 255)"
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return save(compared(), tmp_path_factory.mktemp("page") / "page.html")


def names(page, table="Parameters"):
    """The first cells of a table's rows."""
    cells = page.locator(f"section:has(> h2:text-is('{table}')) td.name > div > span")
    return [text.removesuffix(" error") for text in cells.all_text_contents() if text]


def hover(page, chart, share):
    """Move over a chart, and read what is told there."""
    place, tip = page.locator(".u-over").nth(chart), page.locator(".tip").nth(chart)
    place.scroll_into_view_if_needed()
    page.mouse.move(0, 0)
    tip.wait_for(state="hidden")  # what was told before is no answer
    box = place.bounding_box()
    x = box["x"] + min(max(share * box["width"], 1), box["width"] - 2)
    page.mouse.move(x, box["y"] + box["height"] / 2)
    tip.wait_for()  # it is drawn with the next frame
    return tip.inner_text()


def painted(page, chart):
    """What a chart looks like."""
    return page.locator("canvas").nth(chart).evaluate("canvas => canvas.toDataURL()")


def test_names_are_shown_and_hover_tells_the_layer(browser, file):
    with opened(browser, file) as page:
        assert page.locator("h1").inner_text() == HOSTILE[0]
        assert names(page) == list(HOSTILE)
        assert page.locator("script").count() == 3
        assert page.locator("img, i, b[onclick]").count() == 0
        told = hover(page, 0, 0)
        assert HOSTILE[0] in told
        assert re.search(r"default\s+1\s", told)
        told = hover(page, 0, 0.26)
        assert HOSTILE[1] in told
        assert "named in a finding (error)" in told
        assert re.search(r"default\s+0\b", hover(page, 0, 0.75))  # a gap in the curve
        told = hover(page, 0, 1)
        assert re.search(r"<i>he</i>\s+nan", told)
        assert "plan" not in told  # it has a layer less
        assert re.search(r"step 2\s+default\s+1 \(0.5 to 1.5\)", hover(page, 1, 0.99))
        page.mouse.move(0, 0)
        assert page.locator(".tip:visible").count() == 0
        assert page.get_by_text("There is nothing to draw.").is_visible()
        page.locator("summary").first.click()
        row = page.locator("details tbody tr").nth(2).locator("td")
        row.first.wait_for()  # rows are made when the table opens
        assert row.all_text_contents() == [HOSTILE[2], "1.00e-20", "1.1", "inf"]


def test_search_filter_and_sort(browser, file):
    with opened(browser, file) as page:
        search = page.get_by_label("Search Parameters")
        search.fill("SCRIPT alert")
        assert names(page) == [HOSTILE[0], HOSTILE[1], HOSTILE[3]]
        page.get_by_label("Filter by method").select_option("plan")
        assert names(page) == [HOSTILE[1]]
        assert page.locator("output").first.inner_text() == "1 of 5"
        search.fill("nowhere")
        assert page.get_by_text("No row matches.").first.is_visible()
        search.fill("")
        page.get_by_label("Filter by method").select_option("")
        header = page.get_by_role("columnheader", name="size")
        orders = {"ascending": (2, 1, 4, 3, 0), "descending": (3, 4, 1, 2, 0), "none": range(5)}
        for order, rows in orders.items():
            header.get_by_role("button").click()
            assert header.get_attribute("aria-sort") == order
            assert names(page) == [HOSTILE[i] for i in rows]


def test_a_switch_hides_a_method_everywhere(browser, file):
    with opened(browser, file) as page:
        before = painted(page, 0), painted(page, 1)
        page.get_by_role("button", name="Show 2 more").click()
        assert page.locator("#remarks li:visible").count() == 10
        page.get_by_role("checkbox", name="default").uncheck()
        eventually(page, lambda: painted(page, 0) != before[0] and painted(page, 1) != before[1])
        assert "default" not in hover(page, 0, 0)
        assert "finding" not in hover(page, 0, 0.26)
        assert page.locator("#remarks li:visible").count() == 9
        assert names(page) == [HOSTILE[1], HOSTILE[2], HOSTILE[4]]
        assert not page.get_by_role("heading", name="Of default").is_visible()
        page.get_by_role("checkbox", name="default").check()
        page.mouse.move(0, 0)
        eventually(page, lambda: (painted(page, 0), painted(page, 1)) == before)
        assert len(names(page)) == 5


def test_a_row_opens_with_its_histogram_by_keyboard_and_mouse(browser, file):
    with opened(browser, file) as page:
        button = page.get_by_label(f"Details of {HOSTILE[0]}")
        button.focus()
        page.keyboard.press("Enter")
        assert button.get_attribute("aria-expanded") == "true"
        picture = page.get_by_role("img", name="Histogram of")
        assert "10 values from -1 to 1" in picture.get_attribute("aria-label")
        assert picture.locator("rect").count() == 4
        page.keyboard.press("Enter")
        assert picture.count() == 0
        assert page.get_by_text("long long").count() == 0
        page.locator("tr.openable").nth(1).click()
        told = page.get_by_text("long long")
        table = page.locator("#tables table").first
        assert told.inner_text() == ("long " * 100).strip()  # whole, over the whole width
        assert told.bounding_box()["width"] > 0.8 * table.bounding_box()["width"]
        assert picture.count() == 0  # that row has none


@pytest.fixture(scope="module")
def folds_file(tmp_path_factory):
    return save(folded(), tmp_path_factory.mktemp("page") / "folded.html")


def test_kinds_are_one_row_until_they_are_opened(browser, folds_file):
    kinds = [f"h.0…11.{part} ×12" for part in ("attn", "mlp", "norm")]
    with opened(browser, folds_file) as page:
        assert names(page, "Layers") == [*kinds, "head"]
        cells = page.locator("tr.fold").first.locator("td").all_text_contents()
        assert cells[1:] == ["1…1.39", "error, ok"]
        button = page.get_by_label("Rows of h.0…11.mlp")
        button.focus()
        page.keyboard.press("Enter")
        assert button.get_attribute("aria-expanded") == "true"
        assert names(page, "Layers")[2:5] == ["h.0.mlp", "h.1.mlp", "h.2.mlp"]
        assert page.locator("tr.about").inner_text().count("because of something") == 6
        page.keyboard.press("Enter")  # the focus has stayed
        assert names(page, "Layers") == [*kinds, "head"]
        page.get_by_label("Search Layers").fill("h.3.")
        assert names(page, "Layers")[1::2] == ["h.3.attn", "h.3.mlp", "h.3.norm"]
        assert names(page, "Layers")[0] == "h.0…11.attn 1 of 12"
        page.get_by_label("Search Layers").fill("")
        page.get_by_label("Filter by verdict").select_option("error")
        assert page.locator("output").inner_text() == "8 of 37"
        assert page.locator("tr.member").count() == 8


def test_a_histogram_shows_what_was_planned(browser, folds_file):
    with opened(browser, folds_file) as page:
        page.get_by_label("Details of head").click()
        picture = page.get_by_role("img", name="Histogram of head")
        assert picture.get_attribute("aria-label").endswith("planned: std 0.5")
        assert picture.locator("polyline").count() == 1
        marks = [line.bounding_box()["x"] for line in picture.locator("line.std").all()]
        box, most = picture.bounding_box(), 1.5  # three standard deviations fit in
        places = [box["x"] + box["width"] * (x + most) / (2 * most) for x in (-0.5, 0.5)]
        assert marks == pytest.approx(places, abs=2)


def test_a_legend_names_each_line_and_hides_it(browser, folds_file):
    with opened(browser, folds_file) as page:
        legend = page.get_by_role("list", name="Legend of Signal").get_by_role("button")
        said = ["attn", "mlp", "norm", "single layers", "expected", "measured"]
        assert legend.all_text_contents() == said
        before = painted(page, 0)
        told = hover(page, 0, 0.5)
        assert re.search(r"h\.\d+\.\w+", told)
        assert "expected" in told
        assert "measured" in told
        legend.nth(0).click()
        eventually(page, lambda: painted(page, 0) != before)
        assert legend.nth(0).get_attribute("aria-pressed") == "false"
        assert ".attn" not in hover(page, 0, 0.5)
        page.mouse.move(0, 0)
        legend.nth(0).focus()
        page.keyboard.press("Enter")
        eventually(page, lambda: painted(page, 0) == before)


def test_the_model_is_drawn_and_a_box_finds_its_row(browser, folds_file):
    with opened(browser, folds_file) as page:
        graph = page.get_by_role("group", name="The model")
        boxes = graph.get_by_role("button")
        said = [
            label.partition(",")[0]
            for label in [b.get_attribute("aria-label") for b in boxes.all()]
        ]
        assert said == ["h.0…11.norm", "h.0…11.attn", "h.0…11.mlp", "head"]
        assert graph.get_by_text("× 12").is_visible()
        assert graph.locator("circle.sum").count() == 1
        attn, mlp, norm = (boxes.nth(i).bounding_box() for i in (1, 2, 0))
        assert attn["y"] == mlp["y"] > norm["y"] + norm["height"]
        fill = boxes.nth(3).locator("rect").first.evaluate("rect => getComputedStyle(rect).fill")
        assert "unknown" in fill
        assert page.get_by_text("not known").is_visible()
        page.get_by_label("Search Layers").fill("nothing")
        boxes.nth(2).click()
        button = page.get_by_label("Rows of h.0…11.mlp")
        assert button.get_attribute("aria-expanded") == "true"
        assert button.evaluate("button => button === document.activeElement")
        boxes.nth(3).focus()
        page.keyboard.press("Enter")
        assert page.get_by_role("img", name="Histogram of head").is_visible()


def test_colours_of_the_model_follow_the_theme(browser, folds_file):
    cell = "document.querySelector('.box.layer rect')"
    with opened(browser, folds_file) as page:
        light = page.evaluate(f"getComputedStyle({cell}).fill")
        page.get_by_role("button", name="Dark colours").click()
        assert page.evaluate(f"getComputedStyle({cell}).fill") != light


def test_in_a_frame_the_table_comes_first(browser, folds_file, tmp_path):
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html>{framed(folds_file.read_text(encoding='utf-8'))}")
    with opened(browser, path) as page:
        box = page.frame_locator("iframe").locator("#tables tbody tr").nth(3).bounding_box()
        assert box["y"] + box["height"] < 640


def test_a_phone_shows_name_figure_and_verdict_first(browser, folds_file):
    with opened(browser, folds_file, viewport=PHONE, has_touch=True) as page:
        heads = page.locator("#tables th:visible").all_text_contents()
        assert heads == ["layer", "rms", "verdict"]
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_dark_and_light(browser, file):
    with opened(browser, file, color_scheme="dark") as page:
        dark, drawn = page.evaluate(BACKGROUND), painted(page, 0)
        page.get_by_role("button", name="Light colours").click()
        assert page.evaluate(BACKGROUND) == WHITE != dark
        eventually(page, lambda: painted(page, 0) != drawn)
        page.get_by_role("button", name="Dark colours").click()
        page.emulate_media(color_scheme="light")
        eventually(page, lambda: page.evaluate(BACKGROUND) == WHITE)


def test_a_phone_needs_no_scrolling_to_the_side(browser, file):
    with opened(browser, file, viewport=PHONE, has_touch=True) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        page.locator(".u-over").first.tap()
        assert page.locator(".tip").first.is_visible()


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A plan, a check, what was read, and two of each on one page."""
    folder = tmp_path_factory.mktemp("pages")
    torch.manual_seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 3)
    batch = torch.randn(4, 6, 32)
    before, plan = isoinit.check(model, batch), isoinit.plan(model, batch)
    plan.apply(model, seed=0)
    after = isoinit.check(model, batch, plan=plan)
    he = isoinit.plan(model, batch, method="he")
    shown = {
        "plan": plan,
        "check": after,
        "read": isoinit.read(model, batch),
        "plans": plan.diff(he),
        "checks": before.diff(after),
    }
    for name, one in shown.items():
        one.to_html(folder / f"{name}.html")
    return folder


def test_what_a_phone_leaves_out_of_a_row_stands_in_its_details(browser, tmp_path):
    table = Table("Rows", ("name", "std", "shape"), [("a", 0.5, "4×4")], main=("std",))
    file = save(Page("A", tables=[table]), tmp_path / "page.html")
    with opened(browser, file) as page:
        assert not page.get_by_label("Details of a").is_visible()  # all of it is in the row
        assert page.get_by_text("4×4").is_visible()
    with opened(browser, file, viewport=PHONE) as page:
        assert not page.get_by_text("4×4").is_visible()
        page.get_by_label("Details of a").click()
        assert page.get_by_text("4×4").last.is_visible()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["plan", "check", "read", "plans", "checks"])
def test_pages_of_a_model_fit_a_desk_and_a_phone(browser, shown, name, width):
    viewport = {"width": width, "height": 800}
    with opened(browser, shown / f"{name}.html", viewport=viewport) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator(".scrolls").count() == 0
        for button in page.locator("tr.fold button.opener").all()[:2]:
            button.click()
        assert page.locator("tr.member").count() > 0
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        drawn = page.locator("#figure svg .box").count()
        assert (drawn > 3) == (name in ("plan", "check", "read"))


def test_print_shows_the_facts_and_no_controls(browser, file):
    with opened(browser, file, color_scheme="dark") as page:
        pdf = page.pdf()
        assert pdf.count(b"/Type /Page\n") > 1
        page.emulate_media(media="print")
        assert page.locator("button:visible, input:visible, select:visible").count() == 4 + 1 + 1
        assert page.locator("#remarks li:visible").count() == 10  # none is folded away
        assert page.evaluate(BACKGROUND) == WHITE


def test_a_notebook_shows_it_in_a_frame(browser, tmp_path):
    path = tmp_path / "notebook.html"
    text = framed(save(compared(), tmp_path / "page.html").read_text(encoding="utf-8"))
    path.write_text(f"<!doctype html><title>Notebook</title><div id='title'></div>{text}")
    with opened(browser, path) as page:
        frame = page.frame_locator("iframe")
        assert frame.locator("h1").inner_text() == HOSTILE[0]
        frame.get_by_label("Search Parameters").fill("javascript")
        assert frame.locator("tbody:visible tr[data-row]").count() == 2  # one in either table
        assert page.locator("#title").inner_text() == ""


def test_nothing_to_show(browser, tmp_path):
    with opened(browser, save(Page("Empty", "healthy"), tmp_path / "page.html")) as page:
        assert page.get_by_text("Nothing found.").is_visible()
        assert page.locator("fieldset").count() == 0


def test_a_large_page_makes_few_rows_until_one_asks_for_more(browser, tmp_path):
    with opened(browser, save(large(), tmp_path / "page.html")) as page:
        rows = page.locator("tr[data-row]")
        assert rows.count() == 100
        page.get_by_role("button", name="Show 200 of 9,900 more").click()
        assert rows.count() == 300
        page.get_by_label("Search Parameters").fill("layers.999.part_9")
        assert rows.count() == 1
        page.get_by_label("Search Parameters").fill("")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert rows.count() == 300
