from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Hello(_message.Message):
    __slots__ = ("protocol", "session", "entry", "fingerprint", "ports", "sizes")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    session: bytes
    entry: str
    fingerprint: str
    ports: _containers.RepeatedCompositeFieldContainer[Port]
    sizes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, protocol: _Optional[int] = ..., session: _Optional[bytes] = ..., entry: _Optional[str] = ..., fingerprint: _Optional[str] = ..., ports: _Optional[_Iterable[_Union[Port, _Mapping]]] = ..., sizes: _Optional[_Iterable[str]] = ...) -> None: ...

class Port(_message.Message):
    __slots__ = ("name", "dtype", "shape", "codec", "codec_fingerprint")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    CODEC_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    codec: str
    codec_fingerprint: str
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., codec: _Optional[str] = ..., codec_fingerprint: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("session", "entry", "max_message_bytes", "max_elements", "max_in_flight", "stateful", "streams")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    MAX_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    STATEFUL_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    session: bytes
    entry: str
    max_message_bytes: int
    max_elements: int
    max_in_flight: int
    stateful: bool
    streams: bool
    def __init__(self, session: _Optional[bytes] = ..., entry: _Optional[str] = ..., max_message_bytes: _Optional[int] = ..., max_elements: _Optional[int] = ..., max_in_flight: _Optional[int] = ..., stateful: bool = ..., streams: bool = ...) -> None: ...

class Request(_message.Message):
    __slots__ = ("id", "session", "body", "position", "timeout_ms", "alone")
    ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    ALONE_FIELD_NUMBER: _ClassVar[int]
    id: int
    session: bytes
    body: bytes
    position: int
    timeout_ms: int
    alone: bool
    def __init__(self, id: _Optional[int] = ..., session: _Optional[bytes] = ..., body: _Optional[bytes] = ..., position: _Optional[int] = ..., timeout_ms: _Optional[int] = ..., alone: bool = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("id", "output", "refusal", "timing")
    ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    id: int
    output: bytes
    refusal: Refusal
    timing: Timing
    def __init__(self, id: _Optional[int] = ..., output: _Optional[bytes] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("code", "cause", "message", "retry_after_ms")
    CODE_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    code: int
    cause: str
    message: str
    retry_after_ms: int
    def __init__(self, code: _Optional[int] = ..., cause: _Optional[str] = ..., message: _Optional[str] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("total", "queue", "decode", "tail", "batch")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    DECODE_FIELD_NUMBER: _ClassVar[int]
    TAIL_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    total: int
    queue: int
    decode: int
    tail: int
    batch: int
    def __init__(self, total: _Optional[int] = ..., queue: _Optional[int] = ..., decode: _Optional[int] = ..., tail: _Optional[int] = ..., batch: _Optional[int] = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: bytes
    def __init__(self, session: _Optional[bytes] = ...) -> None: ...

class Closed(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
