"""One HTML file that shows facts: charts by depth, tables to search, findings; no network."""

from isoinit._showing.page.facts import Chart, Curve, Histogram, Page, Remark, Shown, Table, remarks
from isoinit._showing.page.render import framed, refuse_place, render, save

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
