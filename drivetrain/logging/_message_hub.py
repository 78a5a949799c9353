"""The hub through which the parts of a run tell each other numbers and facts."""

from __future__ import annotations

import copy
import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from drivetrain.errors import ArgumentError, ArgumentTypeError, NotFoundError, did_you_mean
from drivetrain.utils import ManagerMixin

from ._device_values import HOST, SCALAR, packed_copy
from ._history_buffer import PENDING_LIMIT, HistoryBuffer
from ._logger import print_log
from ._settle import settle
from ._values import HOST_TYPES, host_number, is_tensor, is_tensor_type, not_one_element

_DEFAULT_WINDOW = 100


class MessageHub(ManagerMixin):
    """Numbers over time (*scalars*) and single facts (*infos*) of one run, by name.

    A scalar given as a tensor is copied on its device and not read: no host waits for it. The first read of any scalar
    (`current`, `mean`, `data`, `state_dict` ...) brings all waiting values over in one copy per device and dtype, and
    `flush_count` says how often that happened. If nobody reads for long, waiting values are folded on the device.

    Of each scalar the newest `retain()` entries are kept, and running statistics of all; so a checkpoint of a long run
    is as small as that of a short one.

    Updates and reads may come from several threads; see `HistoryBuffer` for what is promised.

    Args:
        name: the name of the instance, for `get_instance`.
        log_scalars: scalars to start with.
        runtime_info: infos to start with.
        resumed_keys: for each name whether a checkpoint holds it.

    Raises:
        ArgumentTypeError: a scalar is not a `HistoryBuffer`.
        ArgumentError: `resumed_keys` names something that is not there.
    """

    def __init__(
        self,
        name: str,
        log_scalars: dict[str, Any] | None = None,
        runtime_info: dict[str, Any] | None = None,
        resumed_keys: dict[str, bool] | None = None,
    ) -> None:
        super().__init__(name)
        self._window = _DEFAULT_WINDOW
        self._flushes = 0
        self._epochs: dict[str, int | None] = {}
        self._log_scalars: OrderedDict[str, HistoryBuffer] = OrderedDict(log_scalars or {})
        self._runtime_info: OrderedDict[str, Any] = OrderedDict(runtime_info or {})
        self._resumed_keys: OrderedDict[str, bool] = OrderedDict(resumed_keys or {})
        for key, buffer in self._log_scalars.items():
            if not _is_history(buffer):
                raise ArgumentTypeError(
                    f"the values of log_scalars must be HistoryBuffer objects, but {key!r} is {type(buffer).__name__}."
                )
            buffer._join(self.flush, self.retain)
        for key in self._resumed_keys:
            if key not in self._log_scalars and key not in self._runtime_info:
                raise ArgumentError(f"resumed_keys has {key!r}, which is neither in log_scalars nor in runtime_info.")

    @classmethod
    def get_current_instance(cls) -> MessageHub:
        """The current hub: the one set for this context, else the last created, else a new one called 'mmengine'."""
        current = cls._current_or_none()
        return cls.get_instance("mmengine") if current is None else current

    @property
    def log_scalars(self) -> OrderedDict[str, HistoryBuffer]:
        """The scalars by name; reading one brings waiting values over."""
        return self._log_scalars

    @property
    def runtime_info(self) -> OrderedDict[str, Any]:
        """The infos by name."""
        return self._runtime_info

    @property
    def flush_count(self) -> int:
        """How many times values were copied from tensors to the host."""
        return self._flushes

    def retain(self, size: int = 0) -> int:
        """Keep at least `size` of the newest entries of every scalar from now on; says how many are kept."""
        if size > self._window:
            self._window = size
            for buffer in self._log_scalars.values():
                buffer.retain(size)
        return self._window

    def begin_epoch(self, prefix: str = "train/", key: int | None = None) -> None:
        """Start the window 'epoch' of all scalars whose name begins with `prefix` anew.

        Args:
            prefix: beginning of names.
            key: number of the epoch. Begun with the key it already has, an epoch goes on: that is a resume inside it.
        """
        self._epochs[prefix] = key
        for name, buffer in self._log_scalars.items():
            if name.startswith(prefix):
                buffer.begin_epoch(key)

    def flush(self) -> None:
        """Bring all waiting values over to the host, in one copy per device and dtype."""
        waiting = [series for series in list(self._log_scalars.values()) if series._has_device_values()]
        self._flushes += settle(waiting)

    def update_scalar(self, key: str, value: Any, count: int = 1, resumed: bool = True) -> None:
        """Append `value` to the scalar `key`.

        Args:
            key: name; by habit with the loop in front: 'train/loss'.
            value: a number, or a NumPy array or tensor of one element. Of a tensor a detached copy is kept, on its
                device.
            count: how many samples the value is the sum of.
            resumed: whether checkpoints hold this scalar; the same at every call.

        Raises:
            ArgumentTypeError: not a number, or the count is not an int.
            ArgumentError: more than one element, or `resumed` differs from before.
        """
        if type(count) is not int:
            raise ArgumentTypeError(
                f"the count of {key!r} must be an int, got {count!r} of type {type(count).__name__}."
            )
        if type(value) not in HOST_TYPES:
            value = self._get_valid_value(value, key)
        if count != 1:
            value = (value, count, HOST if type(value) in HOST_TYPES else SCALAR)
        buffer = self._log_scalars.get(key)
        if buffer is None or self._resumed_keys.get(key) is not resumed:
            buffer = self._series(key, resumed)
        waiting = buffer._pending  # what `_append` does; every step comes this way several times
        waiting.append(value)
        if len(waiting) >= PENDING_LIMIT:
            buffer._fold_pending()

    def update_scalars(self, log_dict: dict[str, Any], resumed: bool = True) -> None:
        """Append each value of `log_dict` to the scalar of its name.

        Args:
            log_dict: for each name a value as `update_scalar` takes it, or a dict of `value` and, at will, `count`.
            resumed: as in `update_scalar`.

        Raises:
            ArgumentTypeError: `log_dict` is not a dict.
            ArgumentError: a dict without `value`.
        """
        for key, value in _checked_dict(log_dict, "log_dict").items():
            if type(value) is not dict:
                self.update_scalar(key, value, 1, resumed)
                continue
            if "value" not in value:
                raise ArgumentError(f"the entry of {key!r} must have a `value`, got {value!r}.")
            self.update_scalar(key, value["value"], value.get("count", 1), resumed)

    def update_together(self, values: Mapping[str, Any]) -> None:
        """Append values that belong to one step; tensors of one kind are copied in a single operation.

        Args:
            values: for each name a value as `update_scalar` takes it.

        Raises:
            ArgumentTypeError: a value is not a number.
            ArgumentError: a value has more than one element.
        """
        tensors = {key: value for key, value in values.items() if is_tensor(value)} if len(values) > 1 else {}
        packed = packed_copy(list(tensors.values())) if len(tensors) > 1 else None
        if packed is None:
            for key, value in values.items():
                self.update_scalar(key, value)
            return
        row = 0
        for key, value in values.items():
            if key in tensors:
                self._series(key, True)._append((packed, 1, row))
                row += 1
            else:
                self.update_scalar(key, value)

    def update_info(self, key: str, value: Any, resumed: bool = True) -> None:
        """Set the info `key`.

        Args:
            key: name.
            value: anything; checkpoints hold it if `resumed`.
            resumed: whether checkpoints hold this info; the same at every call.

        Raises:
            ArgumentError: `resumed` differs from before.
        """
        if self._resumed_keys.get(key) is not resumed:
            self._set_resumed_keys(key, resumed)
        self._runtime_info[key] = value

    def pop_info(self, key: str, default: Any | None = None) -> Any:
        """Remove the info `key` and return it, or `default`."""
        if key in self._runtime_info and key not in self._log_scalars:
            self._resumed_keys.pop(key, None)
        return self._runtime_info.pop(key, default)

    def update_info_dict(self, info_dict: dict[str, Any], resumed: bool = True) -> None:
        """Set every info of `info_dict`.

        Raises:
            ArgumentTypeError: not a dict.
        """
        for key, value in _checked_dict(info_dict, "info_dict").items():
            self.update_info(key, value, resumed)

    def get_scalar(self, key: str) -> HistoryBuffer:
        """The scalar `key`.

        Raises:
            NotFoundError: there is none.
        """
        if key not in self._log_scalars:
            raise NotFoundError(
                f"the message hub {self.instance_name!r} has no scalar {key!r}; "
                f"it has {', '.join(self._log_scalars) or 'none yet'}.{did_you_mean(key, self._log_scalars)}"
            )
        return self._log_scalars[key]

    def get_info(self, key: str, default: Any | None = None) -> Any:
        """The info `key`, or `default`."""
        return self._runtime_info.get(key, default)

    def state_dict(self) -> dict[str, Any]:
        """Copies of what a checkpoint is to hold: `log_scalars`, `runtime_info` and `resumed_keys`."""
        self.flush()
        kept = [key for key, resumed in self._resumed_keys.items() if resumed]
        scalars = OrderedDict((key, copy.deepcopy(self._log_scalars[key])) for key in kept if key in self._log_scalars)
        infos = OrderedDict((key, self._copied_info(key)) for key in kept if key in self._runtime_info)
        resumed_keys = OrderedDict((key, True) for key in kept if key in scalars or key in infos)
        return {"log_scalars": scalars, "runtime_info": infos, "resumed_keys": resumed_keys}

    def load_state_dict(self, state_dict: MessageHub | dict[str, Any]) -> None:
        """Take over scalars and infos; others that are here already stay.

        Entries that cannot be used are left out with a warning.

        Args:
            state_dict: what `state_dict` returned, or another hub.

        Raises:
            ArgumentError: one of the three keys is missing.
            ArgumentTypeError: neither a dict nor a hub.
        """
        state = _state_of(state_dict)
        for key, resumed in state["resumed_keys"].items():
            found = self._load_scalar(key, state) or self._load_info(key, state)
            if found:
                self._resumed_keys[key] = resumed
            elif resumed:
                _warn(f"the loaded message hub promises {key!r} but has no usable value of that name; it is left out.")
        for key in set(state["runtime_info"]) - set(state["resumed_keys"]):
            self._load_info(key, state)

    def _load_scalar(self, key: str, state: Mapping[str, Any]) -> bool:
        buffer = state["log_scalars"].get(key)
        if not _is_history(buffer):
            return False
        buffer = copy.deepcopy(buffer)
        buffer._join(self.flush, self.retain)
        buffer._shrink(self._window)
        self._log_scalars[key] = buffer
        return True

    def _load_info(self, key: str, state: Mapping[str, Any]) -> bool:
        if key in state["runtime_info"]:
            self._runtime_info[key] = _copied(key, state["runtime_info"][key])
        return key in state["runtime_info"]

    def _copied_info(self, key: str) -> Any:
        return _copied(key, self._runtime_info[key])

    def _series(self, key: str, resumed: bool) -> HistoryBuffer:
        if self._resumed_keys.get(key) is not resumed:
            self._set_resumed_keys(key, resumed)
        known = self._log_scalars.get(key)
        if known is not None:
            return known
        buffer = HistoryBuffer._bounded(self._window, self.flush, self.retain)
        for prefix, epoch in self._epochs.items():
            if key.startswith(prefix):
                buffer.begin_epoch(epoch)
        return self._log_scalars.setdefault(key, buffer)

    def _set_resumed_keys(self, key: str, resumed: bool) -> None:
        """Note whether checkpoints hold `key`; it may not change."""
        if type(resumed) is not bool:
            raise ArgumentTypeError(f"`resumed` of {key!r} must be a bool, got {resumed!r}.")
        if self._resumed_keys.setdefault(key, resumed) is not resumed:
            raise ArgumentError(
                f"{key!r} was first given with resumed={not resumed}, now with resumed={resumed}: "
                "whether checkpoints hold a name cannot change."
            )

    def _get_valid_value(self, value: Any, key: str = "a scalar") -> Any:
        """`value` as a Python number, or for a tensor an own copy without dimensions, on its device."""
        kind = type(value)
        if kind in HOST_TYPES:
            return value
        if not is_tensor_type(kind):
            return host_number(key, value)
        if value.dim():
            if value.numel() != 1:
                raise not_one_element(key, value.shape)
            value = value.reshape(())
        # The next step may overwrite the original.
        return value.detach().clone() if value.requires_grad else value.clone()


def _is_history(value: Any) -> bool:
    return isinstance(value, HistoryBuffer)


def _checked_dict(value: Any, name: str) -> Mapping[str, Any]:
    if not hasattr(value, "items"):
        raise ArgumentTypeError(f"`{name}` must be a dict, got {value!r} of type {type(value).__name__}.")
    checked: Mapping[str, Any] = value
    return checked


def _state_of(source: Any) -> Mapping[str, Any]:
    """The three parts of a state dict or of a hub."""
    if hasattr(source, "log_scalars"):
        source.flush()
        return {
            "log_scalars": source._log_scalars,
            "runtime_info": source._runtime_info,
            "resumed_keys": source._resumed_keys,
        }
    state = _checked_dict(source, "state_dict")
    for key in ("log_scalars", "runtime_info", "resumed_keys"):
        if key not in state:
            raise ArgumentError(
                f"the state of a MessageHub must have the key {key!r}; it has {', '.join(map(str, state)) or 'none'}."
            )
    return state


def _copied(key: str, value: Any) -> Any:
    """A deep copy of `value`, or with a warning the object itself when it cannot be copied."""
    try:
        return copy.deepcopy(value)
    except Exception as error:  # whatever an object's own copying may raise
        _warn(f"{key!r} of the message hub cannot be copied ({error}); the object itself is kept.")
        return value


def _warn(text: str) -> None:
    print_log(text, "current", logging.WARNING)
