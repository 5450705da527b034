"""A browser that every test shares, and pages in it that are watched for what they may not do."""

import os
import shutil
import time
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()
PATIENCE = 120_000  # milliseconds: against a hang, and no measure of speed on a busy machine
# What the policy stops is told on the console, where it is heard.
HEARD = """addEventListener("securitypolicyviolation", (event) =>
    console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));"""


@pytest.fixture(scope="session")
def browser():
    """Chromium; the test is skipped where there is none, unless ISOINIT_BROWSER=required."""
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed")
    if executable is None:
        missing(f"none of {', '.join(NAMES)} is installed")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield chromium
        chromium.close()


def missing(what):
    if os.environ.get("ISOINIT_BROWSER") == "required":
        pytest.fail(f"{what}, and ISOINIT_BROWSER=required")
    pytest.skip(what)


@contextmanager
def opened(browser, path, **options):
    """A file in the browser. At the end it must have asked for nothing else, and met no error.

    Args:
        browser: the fixture.
        path: the file.
        options: of the browser's context, such as `viewport` and `color_scheme`.
    """
    wrong = []
    context = browser.new_context(**options)
    try:
        context.add_init_script(HEARD)
        context.on("request", lambda request: wrong.append(request.url))
        context.on("dialog", lambda dialog: (wrong.append("a dialog"), dialog.dismiss()))
        context.on("weberror", lambda error: wrong.append(str(error.error)))
        context.on(
            "console",
            lambda said: said.type in ("error", "warning") and wrong.append(said.text),
        )
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(path.as_uri())
        yield page
        assert wrong == [path.as_uri()]
    finally:
        context.close()


def eventually(page, truth):
    """Wait until something holds: charts are drawn with a frame that comes later."""
    end = time.monotonic() + PATIENCE / 1000
    while not truth():
        assert time.monotonic() < end, "it never came to hold"
        page.wait_for_timeout(20)
