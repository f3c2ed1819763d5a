"""Where to cut and what to send: profile, links, select, prune, search.

Names are imported when they are first asked for: a device without torch decides with `Selector` and `advise`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featcodec.lazy import importer as _importer

if TYPE_CHECKING:
    from featcodec.planning.advice import Advice, advise
    from featcodec.planning.candidates import Candidate, candidates_of
    from featcodec.planning.choices import Change, Choice, ChoiceMap, changes, choice_map, relaxed, select
    from featcodec.planning.cost import energy_mj, latency_ms
    from featcodec.planning.cuts import Cut, ModelProfile
    from featcodec.planning.findings import Findings, Trial
    from featcodec.planning.limits import Limits
    from featcodec.planning.links import Link, get_link, measured, shannon
    from featcodec.planning.masks import Masks
    from featcodec.planning.measuring import CodecTrial
    from featcodec.planning.pictures import draw_map, draw_profile
    from featcodec.planning.profiling import macs, profile, read_profile
    from featcodec.planning.pruned import Pruned, prune
    from featcodec.planning.pruning import Pruning
    from featcodec.planning.searching import read_findings, search
    from featcodec.planning.selector import Selector, load_of
    from featcodec.planning.shrinking import shrink
    from featcodec.planning.space import Space, read_space
    from featcodec.planning.tables import choice_lines, map_lines, profile_lines

# Where each name lives.
_HOMES = {
    "advice": ("Advice", "advise"),
    "candidates": ("Candidate", "candidates_of"),
    "choices": ("Change", "Choice", "ChoiceMap", "changes", "choice_map", "relaxed", "select"),
    "cost": ("energy_mj", "latency_ms"),
    "cuts": ("Cut", "ModelProfile"),
    "findings": ("Findings", "Trial"),
    "limits": ("Limits",),
    "links": ("Link", "get_link", "measured", "shannon"),
    "masks": ("Masks",),
    "measuring": ("CodecTrial",),
    "pictures": ("draw_map", "draw_profile"),
    "profiling": ("macs", "profile", "read_profile"),
    "pruned": ("Pruned", "prune"),
    "pruning": ("Pruning",),
    "searching": ("read_findings", "search"),
    "selector": ("Selector", "load_of"),
    "shrinking": ("shrink",),
    "space": ("Space", "read_space"),
    "tables": ("choice_lines", "map_lines", "profile_lines"),
}
_HOME_OF = {name: f"featcodec.planning.{home}" for home, names in _HOMES.items() for name in names}

__all__ = [
    "Advice",
    "Candidate",
    "Change",
    "Choice",
    "ChoiceMap",
    "CodecTrial",
    "Cut",
    "Findings",
    "Limits",
    "Link",
    "Masks",
    "ModelProfile",
    "Pruned",
    "Pruning",
    "Selector",
    "Space",
    "Trial",
    "advise",
    "candidates_of",
    "changes",
    "choice_lines",
    "choice_map",
    "draw_map",
    "draw_profile",
    "energy_mj",
    "get_link",
    "latency_ms",
    "load_of",
    "macs",
    "map_lines",
    "measured",
    "profile",
    "profile_lines",
    "prune",
    "read_findings",
    "read_profile",
    "read_space",
    "relaxed",
    "search",
    "select",
    "shannon",
    "shrink",
]


__getattr__, __dir__ = _importer(__name__, _HOME_OF, {"torch": "torch"})
