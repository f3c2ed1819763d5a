"""Parts: a model as a head and a tail that live apart, each a file that needs neither the other nor the model's source."""

from featcodec.parts.exporting import Parts, export
from featcodec.parts.file import load_part
from featcodec.parts.part import Head, Part, Tail
from featcodec.parts.port import Crossing, Port

__all__ = ["Crossing", "Head", "Part", "Parts", "Port", "Tail", "export", "load_part"]
