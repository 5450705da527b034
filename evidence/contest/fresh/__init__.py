"""Forty models of many fields that no rule was ever tuned on."""

from evidence.contest.fresh.games import GAMES
from evidence.contest.fresh.generative import GENERATIVE
from evidence.contest.fresh.images import IMAGES
from evidence.contest.fresh.language import LANGUAGE
from evidence.contest.fresh.others import OTHERS
from evidence.contest.fresh.pairs import PAIRS
from evidence.contest.fresh.physics import PHYSICS
from evidence.contest.fresh.scenes import SCENES
from evidence.contest.fresh.sets import SETS
from evidence.contest.fresh.signals import SIGNALS
from evidence.contest.fresh.tables import TABLES
from evidence.contest.task import Task

TASKS: dict[str, Task] = {
    **IMAGES,
    **SCENES,
    **LANGUAGE,
    **SIGNALS,
    **TABLES,
    **SETS,
    **PHYSICS,
    **GENERATIVE,
    **PAIRS,
    **GAMES,
    **OTHERS,
}
