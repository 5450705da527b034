"""One HTML file that shows facts: charts by depth, tables to search, findings; no network."""

from isoinit.report.page.facts import Chart, Curve, Histogram, Page, Remark, Shown, Table
from isoinit.report.page.render import framed, render, save

__all__ = [
    "Chart",
    "Curve",
    "Histogram",
    "Page",
    "Remark",
    "Shown",
    "Table",
    "framed",
    "render",
    "save",
]
