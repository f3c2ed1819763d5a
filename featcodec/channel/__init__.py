"""Channels: what may damage a payload between encode and decode, and the same damage on tensors for training."""

from featcodec.channel.base import Channel
from featcodec.channel.bits import BEC, BSC
from featcodec.channel.drawn import ChannelRange
from featcodec.channel.loss import PacketErasure
from featcodec.channel.radio import AWGN, RadioChannel, Rayleigh
from featcodec.channel.table import CHANNELS, Chain, get_channel, list_channels
from featcodec.ops.soft_bits import SURE

__all__ = [
    "AWGN",
    "BEC",
    "BSC",
    "CHANNELS",
    "SURE",
    "Chain",
    "Channel",
    "ChannelRange",
    "PacketErasure",
    "RadioChannel",
    "Rayleigh",
    "get_channel",
    "list_channels",
]
