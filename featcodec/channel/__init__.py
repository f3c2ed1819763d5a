"""Channels: what may damage a payload between encode and decode, and the same damage on tensors for training."""

from featcodec.channel.awgn import AWGN
from featcodec.channel.base import Channel
from featcodec.channel.bec import BEC
from featcodec.channel.bsc import BSC
from featcodec.channel.chain import Chain
from featcodec.channel.drawn import ChannelRange
from featcodec.channel.packet_erasure import PacketErasure
from featcodec.channel.radio import RadioChannel
from featcodec.channel.rayleigh import Rayleigh
from featcodec.channel.registry import channel_class, get_channel, list_channels, register_channel
from featcodec.ops.soft_bits import SURE

__all__ = [
    "AWGN",
    "BEC",
    "BSC",
    "SURE",
    "Chain",
    "Channel",
    "ChannelRange",
    "PacketErasure",
    "RadioChannel",
    "Rayleigh",
    "channel_class",
    "get_channel",
    "list_channels",
    "register_channel",
]
