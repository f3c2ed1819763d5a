"""The .fcz file of a half: a checked JSON and a safetensors blob, read without running anything that lies in it.

The format is normative in docs/parts.md.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from featcodec._core import crc32c
from featcodec._version import __version__
from featcodec.codec import Codec
from featcodec.errors import FeatcodecError, MissingDependencyError, PartError, UnknownCodecError
from featcodec.ops.host import usable_device
from featcodec.parts.about import About
from featcodec.parts.checks import check_part
from featcodec.parts.part import Head, Part, Tail
from featcodec.parts.port import Port
from featcodec.parts.program import Program, in_order
from featcodec.registry import get_codec
from featcodec.weights import check_same_state, safetensors_torch

VERSION = 1
MAX_JSON_BYTES = 1 << 24
MAX_BYTES = 1 << 32  # of intermediate results, unless the caller says otherwise

_MAGIC = b"FCZ"
_FRONT = struct.Struct("<3sBIQ")
_CRC = struct.Struct("<I")


def write_part(part: Part, path: str | Path) -> None:
    """Write a half to a file, whole or not at all.

    Raises
    ------
    MissingDependencyError
        safetensors is not installed.
    """
    path = Path(path)
    tensors = {f"model.{name}": _in_row_order(part, name, x) for name, x in part.program.tensors.items()}
    for port in part.ports:
        state = {} if port.codec is None else port.codec.state_dict()
        tensors |= {f"codec.{port.name}.{name}": x.detach().cpu().contiguous().clone() for name, x in state.items()}
    blob = safetensors_torch().save(tensors)
    text = json.dumps(_described(part), separators=(",", ":"), allow_nan=False).encode()
    front = _FRONT.pack(_MAGIC, VERSION, len(text), len(blob))
    scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with scratch.open("wb") as file:
            for piece in (front, text, blob):
                file.write(piece)
                file.write(_CRC.pack(crc32c(piece)))
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def _in_row_order(part: Part, name: str, x: Tensor) -> Tensor:
    """A tensor whose axes follow one another as they lie in memory: files keep row order alone."""
    order = next(about["order"] for about in part.program.spec["tensors"] if about["name"] == name)
    x = x.detach().cpu()
    return (x if order is None else x.permute(*order)).contiguous().clone()


def _described(part: Part) -> dict[str, Any]:
    about = part.about
    return {
        "kind": part.kind,
        "model": about.model,
        "layer": about.layer,
        "fingerprint": about.fingerprint,
        "versions": {"featcodec": __version__, "torch": torch.__version__},
        "ports": [
            {
                "name": port.name,
                "dtype": port.dtype,
                "shape": list(port.shape),
                "size_bytes": port.size_bytes,
                "axis": port.axis,
                "codec": None if port.codec is None else port.codec.config(),
            }
            for port in about.ports
        ],
        "sizes": list(about.sizes),
        "call": [list(pair) for pair in about.call],
        "leaves": list(about.leaves),
        "layout": about.layout,
        "outputs": list(about.outputs),
        "example": about.example,
        "program": part.program.spec,
    }


def load_part(path: str | Path, *, device: torch.device | str = "cpu", max_bytes: int = MAX_BYTES) -> Head | Tail:
    """Read a half that `Parts.save` wrote; neither the model's source nor the other half is needed.

    Parameters
    ----------
    device
        Where it computes.
    max_bytes
        What its intermediate results may take at a time, 4 GiB unless given: a small file may ask for much. It is found without
        computing, when inputs of a new shape come.

    Returns
    -------
    Head or Tail
        As the file says.

    Raises
    ------
    ConfigError
        There is no such device here.
    PartError
        The file is damaged, of another version, or uses operations that no part may use; weights are missing or left over.
    FileNotFoundError
        There is no such file.
    MissingDependencyError
        safetensors, or a package that its codec needs, is not installed.
    """
    text, blob = _pieces(Path(path).read_bytes())
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise PartError(f"{path} holds no JSON: {e}") from e
    check_part(about)
    try:
        found: dict[str, Tensor] = safetensors_torch().load(blob)
    except MissingDependencyError:
        raise
    except Exception as e:  # safetensors has a class of its own, which is not imported here
        raise PartError(f"{path} holds no safetensors: {e}") from e
    place = usable_device(device)
    weights = {name.removeprefix("model."): x for name, x in found.items() if name.startswith("model.")}
    tensors = _tensors(about["program"]["tensors"], weights, place)
    states = {name.removeprefix("codec."): x for name, x in found.items() if name.startswith("codec.")}
    ports = tuple(_port(port, states) for port in about["ports"])
    left = [*weights.keys() - tensors.keys(), *states, *(n for n in found if not n.startswith(("model.", "codec.")))]
    if left:
        raise PartError(f"{path} holds tensors that nobody reads: {', '.join(sorted(left)[:6])}")
    program = Program(about["program"], tensors, place, max_bytes)
    said = About(
        model=about["model"],
        layer=about["layer"],
        fingerprint=about["fingerprint"],
        ports=ports,
        sizes=tuple(about["sizes"]),
        call=tuple((name, layout) for name, layout in about["call"]),
        leaves=tuple(about["leaves"]),
        layout=about["layout"],
        outputs=tuple(about["outputs"]),
        example=about["example"],
    )
    return Head(said, program) if about["kind"] == "head" else Tail(said, program)


def _pieces(data: bytes) -> tuple[bytes, bytes]:
    """The JSON and the tensors of a file, their checksums checked."""
    if data[:3] != _MAGIC:
        raise PartError(f"a part's file begins with 'FCZ', got {data[:3]!r}")
    if len(data) < _FRONT.size + _CRC.size:
        raise PartError(f"truncated: a part's file has {_FRONT.size + _CRC.size} bytes at its front, got {len(data)}")
    _, version, text_size, blob_size = _FRONT.unpack_from(data)
    if version != VERSION:
        raise PartError(f"the file is of format version {version}, this featcodec reads version {VERSION}")
    at = 0
    pieces: list[bytes] = []
    for size, what in ((_FRONT.size, "front"), (text_size, "JSON"), (blob_size, "tensors")):
        if what == "JSON":
            wanted = at + text_size + blob_size + 2 * _CRC.size
            if text_size > MAX_JSON_BYTES:
                raise PartError(f"a part's JSON has at most {MAX_JSON_BYTES} bytes, the file says {text_size}")
            if wanted != len(data):
                kind = "truncated" if len(data) < wanted else "too long"
                raise PartError(f"{kind}: the file should have {wanted} bytes, got {len(data)}")
        piece = data[at : at + size]
        (promised,) = _CRC.unpack_from(data, at + size)
        if (crc := crc32c(piece)) != promised:
            raise PartError(f"the {what}'s checksum is {crc:#010x}, the file says {promised:#010x}: damaged")
        pieces.append(piece)
        at += size + _CRC.size
    return pieces[1], pieces[2]


def _tensors(wanted: list[dict[str, Any]], found: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for about in wanted:
        name, order = about["name"], about["order"]
        if name not in found:
            raise PartError(f"the weight {name[:80]!r} is missing")
        x = found[name]
        if order is not None:
            if len(order) != x.ndim:
                raise PartError(f"the weight {name[:80]!r} has {x.ndim} axes, its order names {len(order)}")
            x = x.permute(*(order.index(axis) for axis in range(len(order))))
        # a copy lies as torch allocates: kernels round by where a tensor begins, and by whether it wants a gradient
        x = in_order(x, order).to(device, copy=True)
        if about["grad"] and not (x.is_floating_point() or x.is_complex()):
            raise PartError(f"the weight {name[:80]!r} is {x.dtype}, which has no gradient")
        tensors[name] = x.requires_grad_(about["grad"])
    return tensors


def _port(about: dict[str, Any], states: dict[str, Tensor]) -> Port:
    prefix = f"{about['name']}."
    codec = None
    if about["codec"] is not None:
        state = {name.removeprefix(prefix): states.pop(name) for name in list(states) if name.startswith(prefix)}
        codec = _codec(about["codec"], state, about["name"])
    return Port(about["name"], about["dtype"], tuple(about["shape"]), about["size_bytes"], about["axis"], codec)


def _codec(config: dict[str, Any], state: dict[str, Tensor], port: str) -> Codec:
    """The codec of a config and its state; built without memory first, for a config may ask for any size."""
    try:
        with torch.device("meta"):
            check_same_state(f"the codec of {port!r}", state, get_codec(config).state_dict())
        codec = get_codec(config).eval()
        codec.load_state_dict({name: x.clone() for name, x in state.items()})
    except (MissingDependencyError, UnknownCodecError):
        raise
    except FeatcodecError as e:
        raise PartError(f"the codec of {port[:80]!r} cannot be built: {e}") from e
    except Exception as e:  # a config of values that its codec never meets elsewhere
        raise PartError(f"the codec of {port[:80]!r} cannot be built: {type(e).__name__}: {e}") from e
    return codec
