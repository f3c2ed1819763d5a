"""The client's half without torch: a head from an ONNX file, run by ONNX Runtime, and payload coders on NumPy and the core.

head = featcodec.device.Head("head.onnx")     # parts.head.to_onnx wrote it, on a machine with torch
message = head.encode(image)                  # the bytes that the tail's machine decodes
"""

from featcodec.device.codec import DeviceCodec, codec
from featcodec.device.head import Head
from featcodec.device.profiling import profile

__all__ = ["DeviceCodec", "Head", "codec", "profile"]
