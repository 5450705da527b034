"""The page as a reader meets it, in a real browser."""

import re

import pytest

from browser import eventually, opened
from isoinit._showing.page import Page, framed, save
from pages import HOSTILE, compared, large

BACKGROUND, WHITE = "getComputedStyle(document.body).backgroundColor", "rgb(255, 255, 255)"
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return save(compared(), tmp_path_factory.mktemp("page") / "page.html")


def names(page, table="Parameters"):
    """The first cells of a table's rows."""
    return page.locator(f"section:has(> h2:text-is('{table}')) td.name").all_text_contents()


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
        assert page.get_by_text("No row matches.").is_visible()
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
        cell = page.locator("tr.openable .clamp").nth(1)
        height = cell.bounding_box()["height"]
        cell.click()
        assert cell.bounding_box()["height"] > height
        assert picture.count() == 0  # that row has none


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


def test_print_shows_the_facts_and_no_controls(browser, file):
    with opened(browser, file, color_scheme="dark") as page:
        pdf = page.pdf()
        assert pdf.count(b"/Type /Page\n") > 1
        page.emulate_media(media="print")
        assert page.locator("button:visible, input:visible, select:visible").count() == 5 + 1
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


def test_a_large_page_makes_few_rows_until_one_scrolls(browser, tmp_path):
    with opened(browser, save(large(), tmp_path / "page.html")) as page:
        rows = page.locator("tr[data-row]")
        assert rows.count() == 100
        assert page.get_by_text("9,900 more rows").is_visible()
        page.locator("#tables .scroll").evaluate("box => box.scrollTo(0, box.scrollHeight)")
        page.get_by_text("9,700 more rows").wait_for()
        assert rows.count() == 300
        page.get_by_label("Search Parameters").fill("layers.999.part_9")
        assert rows.count() == 1
        page.get_by_label("Search Parameters").fill("")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert rows.count() == 300
