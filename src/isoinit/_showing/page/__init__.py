"""One HTML file that shows facts: charts by depth, tables to search, findings; no network.

`figure` and `facts` (what a page shows, as plain data) ← `along` (layers by kind, for charts and
tables), `html` (facts into the file) ← `shown` (the mixin of what can be shown). Import all of them
from here. The script of the page lies in `parts/`, one file a subject.
"""

from isoinit._showing.page.along import alike, by_kind, folds
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
from isoinit._showing.page.shown import Shown

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
    "folds",
    "framed",
    "refuse_place",
    "remarks",
    "render",
    "save",
]
