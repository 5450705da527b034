"""One HTML file that shows facts: charts by depth, tables to search, findings; no network."""

from isoinit.report.page.facts import (
    Chart,
    Curve,
    Histogram,
    Page,
    Remark,
    Shown,
    Table,
    remarks,
)
from isoinit.report.page.render import framed, refuse_place, render, save

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
