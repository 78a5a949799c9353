"""How a step is spread over devices."""

from .single import SingleDeviceStrategy as SingleDeviceStrategy
from .strategy import Strategy as Strategy
