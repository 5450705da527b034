"""One HTML file that shows facts: charts by depth, tables to search, findings; no network.

`figure` and `facts` (what a page shows, as plain data) ← `along` (layers by kind, for charts and
tables), `overlay` (two pages as one), `html` (facts into the file) ← `shown` (the mixin of what can be
shown); `static` is for a few facts without a script. Import all of them from here. The script of the
page lies in `parts/`, one file a subject.
"""

from isoinit._showing.page.along import alike, by_kind, folds, in_one
from isoinit._showing.page.facts import (
    Chart,
    Curve,
    Density,
    Fold,
    Histogram,
    Page,
    Remark,
    Table,
    remarks,
)
from isoinit._showing.page.figure import Block, Box, Branch, Figure, Row
from isoinit._showing.page.html import framed, refuse_place, render, save
from isoinit._showing.page.overlay import overlaid
from isoinit._showing.page.shown import Shown
from isoinit._showing.page.static import definitions

__all__ = [
    "Block",
    "Box",
    "Branch",
    "Chart",
    "Curve",
    "Density",
    "Figure",
    "Fold",
    "Histogram",
    "Page",
    "Remark",
    "Row",
    "Shown",
    "Table",
    "alike",
    "by_kind",
    "definitions",
    "folds",
    "framed",
    "in_one",
    "overlaid",
    "refuse_place",
    "remarks",
    "render",
    "save",
]
