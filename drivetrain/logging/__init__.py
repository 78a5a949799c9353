"""The log: a logger by name, numbers over time, and the hub that collects both for a run. Imports no torch."""

from ._console import ConsoleHandler as ConsoleHandler
from ._console import console_writer as console_writer
from ._history_buffer import HistoryBuffer as HistoryBuffer
from ._logger import FilterDuplicateWarning as FilterDuplicateWarning
from ._logger import MMFormatter as MMFormatter
from ._logger import MMLogger as MMLogger
from ._logger import parse_level as parse_level
from ._logger import print_log as print_log
from ._message_hub import MessageHub as MessageHub
