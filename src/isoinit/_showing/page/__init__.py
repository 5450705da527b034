"""One HTML file that shows facts: charts by depth, tables to search, findings; no network.

`facts` (what a page shows, as plain data) ← `html` (facts into the file) ← `shown` (the mixin of
what can be shown). Import all of them from here.
"""

from isoinit._showing.page.facts import Chart, Curve, Histogram, Page, Remark, Table, remarks
from isoinit._showing.page.html import framed, refuse_place, render, save
from isoinit._showing.page.shown import Shown

__all__ = [
    "Chart",
    "Curve",
    "Histogram",
    "Page",
    "Remark",
    "Shown",
    "Table",
    "framed",
    "refuse_place",
    "remarks",
    "render",
    "save",
]
