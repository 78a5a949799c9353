"""`Registry`: a table from names to classes and functions, with a parent and one child per package."""

from __future__ import annotations

import itertools
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from drivetrain.errors import DuplicateError

from . import _imports
from ._checks import check_arguments, check_callable, check_registration, duplicate, plain_string
from ._scope import ROOT_SCOPE, DefaultScope, canonical_scope, warn

T = TypeVar("T")

_lock = threading.RLock()
_roots: weakref.WeakValueDictionary[int, Registry] = weakref.WeakValueDictionary()
_numbers = itertools.count()


class Registry:
    """A table from names to classes and functions.

    Registries form trees: the root belongs to this package, and every package built on it may add one child with its
    own scope. A name without a prefix is looked up in a registry and then in its parents; `'scope.Name'` goes to the
    registry of that scope; anything else that has a dot is tried as an import path such as `'torch.optim.SGD'`.

    Args:
        name: what the entries are, such as `"model"`; used in messages.
        build_func: how `build` makes an object: called as `build_func(cfg, *args, registry=registry, **kwargs)`.
            Without one the parent's is used, and `build_from_cfg` at the root.
        parent: the registry to ask for names that this one lacks.
        scope: the prefix of this registry's names; the caller's top package when not given.
        locations: modules to import before the first look-up of a name that is not there, because importing them
            registers their classes.

    Raises:
        DuplicateError: the parent has a child of this scope.
        ArgumentTypeError: an argument has a wrong type.

    >>> SHAPES = Registry("shape")
    >>> @SHAPES.register_module()
    ... class Square:
    ...     def __init__(self, side):
    ...         self.side = side
    >>> SHAPES.build(dict(type="Square", side=2)).side
    2
    """

    def __init__(
        self,
        name: str,
        build_func: Callable[..., Any] | None = None,
        parent: Registry | None = None,
        scope: str | None = None,
        locations: Sequence[str] = [],
    ) -> None:
        check_arguments(name, build_func, parent, scope)
        self._name = name
        self._module_dict: dict[str, Any] = {}
        self._children: dict[str, Registry] = {}
        self._locations = list(locations)
        self._imported = False
        self._build_func = build_func
        self._late_finder: Callable[[str], Any] | None = None
        self._scope = canonical_scope(scope) if scope is not None else self.infer_scope()
        self.parent = parent
        if parent is None:
            _roots[next(_numbers)] = self
        else:
            parent._add_child(self)

    def __len__(self) -> int:
        return len(self._module_dict)

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def __repr__(self) -> str:
        from ._tree import render_table

        return render_table(self)

    @property
    def name(self) -> str:
        """What the entries are, such as `"model"`."""
        return self._name

    @property
    def scope(self) -> str:
        """The prefix of this registry's names."""
        return self._scope

    @property
    def module_dict(self) -> dict[str, Any]:
        """The entries registered here, by name; parents and children not included."""
        return self._module_dict

    @property
    def children(self) -> dict[str, Registry]:
        """The child registries, by scope."""
        return self._children

    @property
    def root(self) -> Registry:
        """The registry at the top of this tree."""
        return self._get_root_registry()

    @property
    def build_func(self) -> Callable[..., Any]:
        """The function that `build` calls: this registry's, else its nearest ancestor's, else `build_from_cfg`."""
        from ._build import build_from_cfg

        found = next((node._build_func for node in self._lineage() if node._build_func is not None), None)
        return found or build_from_cfg

    @build_func.setter
    def build_func(self, build_func: Callable[..., Any] | None) -> None:
        """Build with another function; None goes back to the parent's."""
        self._build_func = build_func

    @staticmethod
    def infer_scope() -> str:
        """The top package of the nearest caller outside this room; modules of this package give the root scope."""
        room = __name__.rpartition(".")[0]
        frame = sys._getframe(1)
        while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith(room):
            frame = frame.f_back
        return canonical_scope(str(frame.f_globals.get("__name__", "__main__")).split(".", maxsplit=1)[0])

    @staticmethod
    def split_scope_key(key: str) -> tuple[str | None, str]:
        """Split at the first dot: `'mmdet.ResNet'` gives `('mmdet', 'ResNet')`, `'ResNet'` gives `(None, 'ResNet')`."""
        scope, dot, name = key.partition(".")
        return (scope, name) if dot else (None, key)

    @contextmanager
    def switch_scope_and_registry(self, scope: str | None) -> Iterator[Registry]:
        """Set the default scope inside the block and yield the registry of this tree that belongs to it.

        Args:
            scope: the scope; None takes the default scope in force, if there is one.

        Yields:
            The registry of that scope, or this one (with a warning) when the tree has none.
        """
        with DefaultScope.overwrite_default_scope(scope):
            default = DefaultScope.get_current_instance()
            yield self if default is None else self._of_scope(default.scope_name)

    def import_from_location(self) -> None:
        """Import the modules that fill this registry; after the first success nothing happens.

        Raises:
            MissingPackageError: there is no such module.
            BuildError: importing it raised; the cause is chained.
        """
        if not self._imported:
            # The flag is set last, without a lock: an import that looks a name up comes here again and finds its
            # modules in sys.modules, and another thread waits at the import system's own lock.
            _imports.import_locations(self)
            self._imported = True

    def set_late_finder(self, find: Callable[[str], Any] | None) -> None:
        """Ask `find(name)` for names that are not registered here: it gives the entry, or None, and may register it.

        So packages that take long to import are imported when one of their names is first used.
        """
        self._late_finder = find

    def get(self, key: str) -> Any:
        """The entry called `key`, or None.

        Args:
            key: `'Name'`, `'scope.Name'` or an import path such as `'torch.optim.SGD'`.

        Raises:
            ArgumentTypeError: `key` is not a str.
            BuildError: a module had to be imported for this and raised; the cause is chained.
        """
        if type(key) is not str:
            key = plain_string(key)
        found = self._find(key)
        return _imports.object_at(key, self) if found is None and "." in key else found

    def build(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        """Build an object from its config with this registry's `build_func`.

        Args:
            cfg: a dict or config whose `type` says what to build; the rest are the arguments.
            *args: passed to the build function; the contract's take none.
            **kwargs: passed to the build function, such as `default_args`.

        Raises:
            NotFoundError: there is no such name, or no `type`.
            ArgumentTypeError: an argument is unknown or missing, or `type` is neither a name nor callable.
        """
        return self.build_func(cfg, *args, **kwargs, registry=self)

    def register_module(
        self, name: str | list[str] | None = None, force: bool = False, module: Any = None
    ) -> Callable[[T], T]:
        """Register a class or function, as a decorator or by a call.

        Args:
            name: one name or several; the object's own name when not given.
            force: replace an entry of that name.
            module: what to register; when not given, a decorator is returned.

        Returns:
            The registered object, unchanged, or the decorator.

        Raises:
            DuplicateError: the name is taken and `force` is off.
            ArgumentTypeError: the name is no str, or the object is not callable.
        """
        check_registration(self, name, force)
        if module is not None:
            self._register_module(module=module, module_name=name, force=force)
            return module

        def register(decorated: T) -> T:
            """Register what is decorated and hand it back."""
            self._register_module(module=decorated, module_name=name, force=force)
            return decorated

        return register

    def _register_module(self, module: Any, module_name: str | list[str] | None = None, force: bool = False) -> None:
        check_callable(self, module)
        own_name = getattr(module, "__name__", type(module).__name__)
        names = [module_name] if type(module_name) is str else list(module_name or [own_name])
        with _lock:
            for name in names:
                if not force and name in self._module_dict:
                    raise duplicate(self, name, module)
            self._module_dict.update(dict.fromkeys(names, module))

    def _find(self, key: str) -> Any:
        scope, name = self.split_scope_key(key)
        if scope is None:
            return next((hit for node in self._lineage() if (hit := node._own(name)) is not None), None)
        owner = self._search_scope(scope)
        return None if owner is None else owner._below(name)

    def _below(self, key: str) -> Any:
        """The entry `key` of this registry, or `'scope.Name'` of the child of that scope."""
        scope, name = self.split_scope_key(key)
        child = self._children.get(scope) if scope is not None else None
        return child._below(name) if child is not None else self._own(key)

    def _own(self, name: str) -> Any:
        found = self._module_dict.get(name)
        if found is None and not self._imported:
            self.import_from_location()
            found = self._module_dict.get(name)
        if found is None and self._late_finder is not None:
            found = self._late_finder(name)
        return found

    def _search_scope(self, scope: str) -> Registry | None:
        wanted = canonical_scope(scope)
        if self._scope == wanted:
            return self
        found = self.root._search_child(wanted)
        if found is None and _imports.import_scope(wanted):
            found = self.root._search_child(wanted)
        return found

    def _of_scope(self, scope: str) -> Registry:
        found = self._search_scope(scope)
        if found is not None or canonical_scope(scope) == ROOT_SCOPE:
            return self if found is None else found  # an empty registry is false
        _imports.warn_once(
            self._name,
            scope,
            f"The registry {self._name!r} has no child of scope {scope!r}, so names "
            f"are looked up in scope {self._scope!r}. If {scope!r} is a package with registries, check "
            f"that `import {scope}.registry` works.",
            warn,
        )
        return self

    def _lineage(self) -> Iterator[Registry]:
        node: Registry | None = self
        while node is not None:
            yield node
            node = node.parent

    def _get_root_registry(self) -> Registry:
        *_, root = self._lineage()
        return root

    def _search_child(self, scope: str) -> Registry | None:
        if self._scope == scope:
            return self
        hits = (child._search_child(scope) for child in self._children.values())
        return next((hit for hit in hits if hit is not None), None)

    def _add_child(self, registry: Registry) -> None:
        with _lock:
            if registry.scope in self._children:
                raise DuplicateError(
                    f"the registry {self._name!r} has a child of scope {registry.scope!r} already. A "
                    "parent holds one child per scope: use that one, or pass another scope=."
                )
            self._children[registry.scope] = registry


def root_registries() -> list[Registry]:
    """Every registry without a parent, in the order of their creation."""
    return [root for _, root in sorted(_roots.items())]
