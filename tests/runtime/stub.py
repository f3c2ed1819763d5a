"""A client of bare stubs: what these tests say to a server, and nothing that a real client does beside."""

from __future__ import annotations

import itertools
import json
import os

import grpc
import numpy as np
import torch

from featcodec.message import PlainTensor
from featcodec.parts.program import DTYPES
from featcodec.runtime import edge_pb2, edge_pb2_grpc
from featcodec.runtime.wire import HELLO_KEY, PROTOCOL, agreed_on, hello_name, unpack_output


def tensor(plain: PlainTensor) -> torch.Tensor:
    return torch.from_numpy(np.array(plain.data)).view(DTYPES[plain.dtype]).reshape(plain.shape)


def canonical(config) -> str:
    return json.dumps(config, sort_keys=True, separators=(",", ":"))


def hello_of_ports(ports, fingerprint, sizes=(), entry="") -> edge_pb2.Hello:
    """The hello of a head's ports."""
    said = []
    for port in ports:
        shape = [-1 if isinstance(n, str) else n for axis, n in enumerate(port.shape) if axis != port.axis]
        codec = "" if port.codec is None else canonical(port.codec.config())
        state = "" if port.codec is None else port.codec.fingerprint()
        said.append(edge_pb2.Port(name=port.name, dtype=port.dtype, shape=shape, codec=codec, codec_fingerprint=state))
    return edge_pb2.Hello(
        protocol=PROTOCOL, session=os.urandom(16), entry=entry, fingerprint=fingerprint, ports=said, sizes=sizes
    )


def hello_of_feature(codec, shape, *, dtype="float32", fingerprint="", entry="") -> edge_pb2.Hello:
    """The hello of a feature behind one codec."""
    port = edge_pb2.Port(
        name="feature", dtype=dtype, shape=shape, codec=canonical(codec.config()), codec_fingerprint=codec.fingerprint()
    )
    return edge_pb2.Hello(protocol=PROTOCOL, session=os.urandom(16), entry=entry, fingerprint=fingerprint, ports=[port])


class Stub:
    """One channel, and one session on it."""

    def __init__(self, address, hello=None, codecs=None, *, channel=None, metadata=()):
        # channels of one process would share a connection
        self.channel = channel or grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        self.edge = edge_pb2_grpc.EdgeStub(self.channel)
        self.metadata = tuple(metadata)
        self.ids = itertools.count(1)
        if hello is not None:
            self.hello = hello
            kinds = {name: (codec.payload_kind, codec.config_crc()) for name, codec in (codecs or {}).items()}
            self.agreed = agreed_on(hello, kinds)

    def open(self):
        return self.edge.Open(self.hello, timeout=10, metadata=self.metadata)

    def request(self, items, *, number=None, position=0, timeout_ms=0):
        body = self.agreed.to_bytes(items)
        number = next(self.ids) if number is None else number
        return edge_pb2.Request(id=number, session=self.hello.session, body=body, position=position, timeout_ms=timeout_ms)

    def infer(self, request, *, timeout=10, extra=()):
        name = ((HELLO_KEY, hello_name(self.hello).hex()),)
        return self.edge.Infer(request, timeout=timeout, metadata=(*self.metadata, *name, *extra))

    def __call__(self, items, **about):
        return unpack_output(self.infer(self.request(items, **about)).output, tensor)

    def close(self):
        self.channel.close()
