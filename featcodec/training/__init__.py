"""Training codecs where they are inserted: schedules of the papers, caching of head features, checkpoints, progress."""

from featcodec.training.batches import Batches
from featcodec.training.cache import cache_features
from featcodec.training.fit import fit
from featcodec.training.history import History
from featcodec.training.phase import (
    SCHEDULES,
    Phase,
    Schedule,
    bottleneck_only,
    end_to_end,
    fine_tuning,
    get_schedule,
    head_distillation,
    knowledge_distillation,
    three_step,
)
from featcodec.training.progress import Event, Progress, show_progress

__all__ = [
    "SCHEDULES",
    "Batches",
    "Event",
    "History",
    "Phase",
    "Progress",
    "Schedule",
    "bottleneck_only",
    "cache_features",
    "end_to_end",
    "fine_tuning",
    "fit",
    "get_schedule",
    "head_distillation",
    "knowledge_distillation",
    "show_progress",
    "three_step",
]
