"""Lesson 07: channels - producer and consumer, pipelines, fan-out and fan-in, broadcast."""

from ._core import (
    ChannelClosed,
    ChannelEmpty,
    ChannelLagged,
    broadcast_compute,
    fan_out_fan_in,
    pipeline_processing,
    producer_consumer,
    select,
)
from .channel import Broadcast, Channel, ChannelStats, Subscription

__all__ = [
    "Broadcast",
    "Channel",
    "ChannelClosed",
    "ChannelEmpty",
    "ChannelLagged",
    "ChannelStats",
    "Subscription",
    "broadcast_compute",
    "fan_out_fan_in",
    "pipeline_processing",
    "producer_consumer",
    "select",
]
