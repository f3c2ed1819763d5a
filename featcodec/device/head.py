"""Head: a network's first part from an ONNX file, with the codecs of what it gives; the file says how."""

from __future__ import annotations

import base64
import binascii
import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featcodec.bitstream import Packet, PayloadKind
from featcodec.conditions import Conditions
from featcodec.device.codec import DeviceCodec, codec
from featcodec.errors import ConfigError, FeatureError, MissingDependencyError, PartError
from featcodec.message import Item, Message, PlainTensor, array_of
from featcodec.outline import Outline, canonical
from featcodec.payloads.plain import bfloat16_bytes

KEY = "featcodec"
FORMAT = 1
_MOST_SHAPES = 64  # that are remembered as fitting


class Crossing(NamedTuple):
    """One tensor that crosses: an output of the head, and what becomes of it.

    Attributes
    ----------
    name
        Of the output.
    dtype
        Of the feature, by name; a bfloat16 feature is a float32 output.
    shape
        Of the feature with its batch axis; None for an axis of any size.
    codec
        None for a tensor that is sent as it is.
    fingerprint
        Of the codec in torch, weights and all; empty where the file does not say.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    codec: DeviceCodec | None
    fingerprint: str = ""


class Head:
    """A head that `parts.head.to_onnx` wrote.

    Parameters
    ----------
    path
        The ONNX file.
    threads
        Of ONNX Runtime within an operator; its own choice unless given.
    providers
        ONNX Runtime's, in the order in which they are tried.

    Attributes
    ----------
    inputs, types
        Names of what `encode` takes, in order, with shapes (integers, and names of axes of any size) and ONNX Runtime's types.
    layer, fingerprint
        Where the model was cut, and the pair's fingerprint: whose head this is.
    crossing, sizes
        What the head gives, in order: tensors, and names of the sizes that the tail cannot see in one.

    Raises
    ------
    ConfigError
        The file is no head, of another format, or has a codec that runs with torch alone.
    FileNotFoundError, MissingDependencyError
        No such file; ONNX Runtime, or a codec's package, is not installed.
    """

    def __init__(
        self, path: str | Path, *, threads: int | None = None, providers: tuple[str, ...] = ("CPUExecutionProvider",)
    ) -> None:
        self._session = _session(Path(path), threads, providers)
        self._fitting: set[tuple[tuple[int, ...], ...]] = set()
        about = _about(Path(path), self._session.get_modelmeta().custom_metadata_map.get(KEY))
        self._conditions = _conditions(Path(path), about.get("conditions"))
        self.layer: str = about["layer"]
        self.fingerprint: str = about["head_fingerprint"]
        self.crossing = tuple(_crossing(row) for row in about["crossing"])
        self.inputs: dict[str, tuple[int | str, ...]] = {i.name: tuple(i.shape) for i in self._session.get_inputs()}
        self.types: dict[str, str] = {i.name: i.type for i in self._session.get_inputs()}
        self.sizes: tuple[str, ...] = tuple(map(str, about["sizes"]))
        given, wanted = {o.name for o in self._session.get_outputs()}, {*(c.name for c in self.crossing), *self.sizes}
        if not wanted <= given:
            raise ConfigError(f"{path} says that {', '.join(sorted(wanted - given))} crosses, its outputs are {sorted(given)}")

    def run(self, *inputs: NDArray[Any], **named: NDArray[Any]) -> list[NDArray[Any]]:
        """Return what crosses for a batch, in the order of `crossing` (of a learned codec the latents), then of `sizes`.

        Raises
        ------
        FeatureError
            The inputs are not those of the head, or of sizes for which the model computes something else.
        """
        names = list(self.inputs)
        fed = {**dict(zip(names, inputs, strict=False)), **named}
        if len(inputs) > len(names) or set(fed) != set(names) or len(fed) != len(inputs) + len(named):
            raise FeatureError(f"the head takes {', '.join(names)}; got {len(inputs)} in order and {sorted(named)} by name")
        self._check([np.shape(fed[name]) for name in names])
        try:
            outputs: list[NDArray[Any]] = self._session.run([*(c.name for c in self.crossing), *self.sizes], fed)
        except Exception as e:  # ONNX Runtime's own classes, which are not imported here
            shapes = {name: f"{value.dtype} {value.shape}" for name, value in fed.items() if isinstance(value, np.ndarray)}
            raise FeatureError(f"the head does not take {shapes}, it wants {self.inputs}: {e}") from e
        return outputs

    def _check(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Raise FeatureError where for these sizes the head computes something else than the model does."""
        key = tuple(shapes)
        if self._conditions is not None and key not in self._fitting:
            self._conditions.check(shapes, {})
            if len(self._fitting) >= _MOST_SHAPES:
                self._fitting.clear()
            self._fitting.add(key)

    __call__ = run

    def packets(self, *inputs: NDArray[Any], **named: NDArray[Any]) -> list[list[Packet] | PlainTensor]:
        """Return the packets of each tensor that crosses, one per sample; the tensor itself where it has no codec.

        Raises
        ------
        FeatureError, FeatureTypeError
            The inputs are not those of the head, or a feature is not one (`DeviceCodec.encode`).
        """
        return self._sent(self.run(*inputs, **named)[: len(self.crossing)])

    def encode(self, *inputs: NDArray[Any], **named: NDArray[Any]) -> bytes:
        """Return the message of a batch, for the tail that was made with this head; errors are those of `packets`."""
        return self.pack(self.run(*inputs, **named))

    def pack(self, outputs: Sequence[NDArray[Any]]) -> bytes:
        """Return the message of what `run` gave."""
        return Message(int(self.fingerprint[:8], 16), self.items(outputs)).to_bytes()

    def items(self, outputs: Sequence[NDArray[Any]]) -> tuple[Item, ...]:
        """Return what `run` gave as the items of a message."""
        count = len(self.crossing)
        items: list[Item] = [tuple(item) if isinstance(item, list) else item for item in self._sent(outputs[:count])]
        return (*items, *map(int, outputs[count:]))

    def outlines(self, outputs: Sequence[NDArray[Any]] | None = None) -> tuple[Outline, ...]:
        """Return what the head's other end compares of each tensor that crosses; the outputs of a run are not looked at."""
        return tuple(_outline(crossing, self.inputs) for crossing in self.crossing)

    def known(self, outputs: Sequence[NDArray[Any]]) -> None:
        """Return what of the model's output the head knows: nothing, for a file says nothing of it."""

    def array(self, tensor: PlainTensor) -> NDArray[Any]:
        """Return a tensor of the tail's output as an array; bfloat16 as float32."""
        return array_of(tensor)

    def _sent(self, outputs: Sequence[NDArray[Any]]) -> list[list[Packet] | PlainTensor]:
        return [_sent(crossing, value) for crossing, value in zip(self.crossing, outputs, strict=True)]


def _outline(crossing: Crossing, inputs: Mapping[str, Any]) -> Outline:
    shape = tuple(-1 if dim is None else dim for dim in crossing.shape)
    bare = crossing.name.removesuffix(".crossing")
    name = bare if bare in inputs else crossing.name  # as the writer names what crosses as it came
    if crossing.codec is None:
        return Outline(name, crossing.dtype, shape)
    config, crc = canonical(crossing.codec.config), crossing.codec.config_crc
    return Outline(name, crossing.dtype, shape[1:], config, crossing.fingerprint, PayloadKind.BYTES, crc)


def _sent(crossing: Crossing, value: NDArray[Any]) -> list[Packet] | PlainTensor:
    if crossing.codec is None and crossing.dtype == "bfloat16" and value.dtype == np.float32:
        return PlainTensor("bfloat16", value.shape, bfloat16_bytes(value))
    if crossing.codec is None:
        return PlainTensor.of(value)
    if not crossing.codec.of_latents:
        return crossing.codec.encode(value, dtype=crossing.dtype)
    shape = [dim for dim in crossing.shape[1:] if dim is not None]
    if len(shape) != len(crossing.shape) - 1:
        raise FeatureError(f"{crossing.name}: the sizes of a learned codec's feature are fixed, the file says {crossing.shape}")
    return crossing.codec.encode(value, dtype=crossing.dtype, shape=shape)


def _session(path: Path, threads: int | None, providers: tuple[str, ...]) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        runtime = importlib.import_module("onnxruntime")
    except ModuleNotFoundError as e:
        line = "pip install 'featcodec[device]'"
        raise MissingDependencyError(f"a head on a device needs {e.name}, which is not installed: {line}") from e
    options = runtime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return runtime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as e:  # ONNX Runtime's own classes
        raise ConfigError(f"{path} is no ONNX file that runs here: {e}") from e


def _about(path: Path, text: str | None) -> dict[str, Any]:
    """What a head's file says of itself, its fields checked."""
    try:
        about = json.loads(text or "")
    except json.JSONDecodeError as e:
        raise ConfigError(f"{path} is no head: it has no JSON under {KEY!r} in its metadata") from e
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        found = about.get("format") if isinstance(about, dict) else about
        raise ConfigError(f"{path} is a head of format {found}, this featcodec reads {FORMAT}")
    fields: tuple[tuple[str, type], ...] = (("layer", str), ("head_fingerprint", str), ("crossing", list), ("sizes", list))
    for name, kind in fields:
        if not isinstance(about.get(name), kind):
            raise ConfigError(f"{path} is no head: {name} must be a {kind.__name__}, got {about.get(name)!r}")
    try:
        int(about["head_fingerprint"][:8], 16)
    except ValueError as e:
        raise ConfigError(f"{path} is no head: a fingerprint is hexadecimal, got {about['head_fingerprint']!r}") from e
    return about


def _conditions(path: Path, given: Any) -> Conditions | None:
    """What the file says of sizes; nothing where it says nothing."""
    if given is None:
        return None
    try:
        return Conditions([(str(name), list(shape)) for name, shape in given["inputs"]], given["derived"], given["guards"])
    except (PartError, KeyError, TypeError, ValueError, AttributeError) as e:
        raise ConfigError(f"{path} is no head: its conditions are none: {e!r}") from e


def _crossing(row: Any) -> Crossing:
    """One tensor that crosses, of what the file says."""
    try:
        config: Mapping[str, Any] | None = row["codec"]
        state = {name: _array(entry) for name, entry in row.get("state", {}).items()}
        shape = tuple(None if dim is None or isinstance(dim, str) else int(dim) for dim in row["shape"])
        name, dtype, fingerprint = str(row["name"]), str(row["dtype"]), str(row.get("fingerprint", ""))
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        raise ConfigError(f"a head's crossing tensor has name, dtype, shape, codec and state, got {row!r:.200}: {e!r}") from e
    return Crossing(name, dtype, shape, None if config is None else codec(config, state), fingerprint)


def _array(entry: Mapping[str, Any]) -> NDArray[Any]:
    """An array of a codec's state: {"dtype", "shape", "data": base64 of its little-endian bytes in row order}."""
    dtype = np.dtype(entry["dtype"]).newbyteorder("<")
    if dtype.kind not in "iubf":
        raise ValueError(f"a state holds numbers, got {dtype}")
    try:
        data = base64.b64decode(entry["data"], validate=True)
    except binascii.Error as e:
        raise ValueError(f"the data of a state is base64: {e}") from e
    array: NDArray[Any] = np.frombuffer(data, dtype).reshape(entry["shape"]).astype(dtype.newbyteorder("="))
    return array
