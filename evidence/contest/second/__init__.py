"""Twenty-four models of yet other fields that no rule was ever tuned on."""

from evidence.contest.second.audio import AUDIO
from evidence.contest.second.codes import CODES
from evidence.contest.second.decisions import DECISIONS
from evidence.contest.second.dynamics import DYNAMICS
from evidence.contest.second.images import IMAGES
from evidence.contest.second.language import LANGUAGE
from evidence.contest.second.molecules import MOLECULES
from evidence.contest.second.sequences import SEQUENCES
from evidence.contest.task import Task

TASKS: dict[str, Task] = {
    **AUDIO,
    **SEQUENCES,
    **LANGUAGE,
    **IMAGES,
    **MOLECULES,
    **DYNAMICS,
    **DECISIONS,
    **CODES,
}
