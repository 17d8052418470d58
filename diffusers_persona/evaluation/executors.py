"""Where the cells of a sweep are computed: in this process, in several, or on Ray.

Each executor has one method, `map(function, items)`, which yields (item, result, error) as items finish, in any order;
`error` is None or a line of text. A function and its items must be picklable for all but `Local`.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, TypeVar

from diffusers_persona.errors import PersonaError

Item = TypeVar("Item")
Outcome = Iterator[tuple[Item, Any, str | None]]
DIED = "its process died, perhaps for want of memory"


@dataclass(frozen=True)
class Local:
    """One after the other, in this process."""

    def map(self, function: Callable[[Item], Any], items: Sequence[Item]) -> Outcome:
        """See the module."""
        for item in items:
            yield item, *_attempt(function, item)


@dataclass(frozen=True)
class Processes:
    """`count` processes of this machine, each with one thread."""

    count: int

    def map(self, function: Callable[[Item], Any], items: Sequence[Item]) -> Outcome:
        """See the module."""
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.count, mp_context=context, initializer=_one_thread)
        try:
            futures = {pool.submit(_attempt, function, item): item for item in items}
            for future in as_completed(futures):
                died = isinstance(future.exception(), BrokenExecutor)
                yield futures[future], *((None, DIED) if died else future.result())
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Ray:
    """Tasks of one CPU on Ray: a running cluster (`address` or RAY_ADDRESS), else `count` workers of this machine.

    Needs the extra `ray`. The package and the files of the benchmark must be found on every machine; rows come back to
    this process, which stores them.
    """

    count: int
    address: str | None = None

    def map(self, function: Callable[[Item], Any], items: Sequence[Item]) -> Outcome:
        """See the module."""
        ray = _ray()
        started = not ray.is_initialized()
        if started:
            _start_ray(ray, self.count, self.address)
        try:
            attempt = ray.remote(num_cpus=1, max_retries=0)(_attempt_in_one_thread)
            shared = ray.put(function)
            waiting = {attempt.remote(shared, item): item for item in items}
            while waiting:
                (done, *_), _ = ray.wait(list(waiting))
                item = waiting.pop(done)
                try:
                    yield item, *ray.get(done)
                except ray.exceptions.RayTaskError as error:
                    yield item, None, str(error).strip().splitlines()[-1]
                except ray.exceptions.RayError:
                    yield item, None, DIED
        finally:
            if started:
                ray.shutdown()


Executor = Local | Processes | Ray
NAMES = ("local", "processes", "ray")


def executor(name: str | None = None, workers: int = 1) -> Executor:
    """The executor of a name: None takes processes for several workers, else this process.

    Raises:
        PersonaError: an unknown name, or Ray is not installed.
    """
    name = name or ("processes" if workers > 1 else "local")
    if name == "local":
        return Local()
    if name == "processes":
        return Processes(workers)
    if name == "ray":
        _ray()
        return Ray(workers)
    raise PersonaError(f"no executor is called {name!r}: choose one of {', '.join(NAMES)}")


def _attempt(function: Callable[[Item], Any], item: Item) -> tuple[Any, str | None]:
    try:
        return function(item), None
    except Exception as error:  # one failed cell must not take the others' hours with it; it is reported at the end
        return None, f"{type(error).__name__}: {error}"


def _attempt_in_one_thread(function: Callable[[Item], Any], item: Item) -> tuple[Any, str | None]:
    _one_thread()
    return _attempt(function, item)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise PersonaError("--executor ray needs Ray: pip install 'diffusers-persona[ray]'.") from None
    return ray


def _start_ray(ray: Any, count: int, address: str | None) -> None:
    """Joins a running cluster, or starts workers here, which import what this process can import."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address := address or os.environ.get("RAY_ADDRESS"):
        options: dict[str, Any] = {"address": address}
    else:
        variables = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        options = {"num_cpus": count, "include_dashboard": False, "runtime_env": {"env_vars": variables}}
    ray.init(log_to_driver=False, logging_level="error", **options)
