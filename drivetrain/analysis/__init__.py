"""What a model costs: flops, activations and parameters, by module and by operator."""

from ._analyzer import ActivationAnalyzer as ActivationAnalyzer
from ._analyzer import FlopAnalyzer as FlopAnalyzer
from ._analyzer import JitModelAnalysis as JitModelAnalysis
from ._analyzer import Statistics as Statistics
from ._analyzer import activation_count as activation_count
from ._analyzer import flop_count as flop_count
from ._complexity import complexity_stats_str as complexity_stats_str
from ._complexity import complexity_stats_table as complexity_stats_table
from ._complexity import get_model_complexity_info as get_model_complexity_info
from ._formulas import Handle as Handle
from ._formulas import conv_flop_count as conv_flop_count
from ._formulas import elementwise_flop_counter as elementwise_flop_counter
from ._formulas import get_shape as get_shape
from ._formulas import norm_flop_counter as norm_flop_counter
from ._parameters import parameter_count as parameter_count
from ._parameters import parameter_count_table as parameter_count_table
from ._text import _format_size as _format_size
