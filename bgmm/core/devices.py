"""Blocks spread over the devices of this process, so that a pass uses all of them.

JAX sees the cores of a machine as one device, and runs a scan on one of them. Told before its first use that there are as
many devices as cores, ``jax.config.update("jax_num_cpu_devices", 2)``, it lets each device scan blocks of its own; several
accelerators are used in the same way. What is not a pass runs on every device alike, but for what ``map_on_each`` shares out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

_LEAST = 24  # blocks for each device: with fewer, meeting after every pass costs more than it gains
_AXIS = "device"


@jax.tree_util.register_static
@dataclass(frozen=True)
class Devices:
    """The first ``n`` devices; a pytree without leaves, so that what is spread over them says so when it is compiled."""

    n: int = 1

    def spread(self, array: np.ndarray) -> Array:
        """The array, each device holding its share of the first axis."""
        return jax.device_put(array, NamedSharding(self._mesh, PartitionSpec(_AXIS)) if self.n > 1 else None)

    def on_each(self, function: Callable, *, summed: bool) -> Callable:
        """``function(shared, split)`` on every device, with its share of the first axes of ``split``.

        The results are added up, or joined along their first axes.
        """
        if self.n == 1:
            return function
        share, whole = PartitionSpec(_AXIS), PartitionSpec()

        def of_share(shared, split):
            result = function(shared, split)
            return jax.lax.psum(result, _AXIS) if summed else result

        # check_vma would have the scans' starting zeros marked as differing between devices
        return jax.shard_map(
            of_share, mesh=self._mesh, in_specs=(whole, share), out_specs=whole if summed else share, check_vma=False
        )

    @property
    def _mesh(self) -> Mesh:
        return Mesh(np.array(jax.local_devices()[: self.n]), (_AXIS,))


def for_blocks(n_blocks: int) -> Devices:
    """The devices over which so many blocks are spread."""
    return Devices(max(1, min(jax.local_device_count(), n_blocks // _LEAST)))


def map_on_each(function: Callable, arguments):
    """``function`` of every item of ``arguments`` (along first axes), the items shared out among the devices.

    Each device takes its items in turn, so that what one can skip is not done for the sake of another; where they do not share
    out evenly, the first are done twice.
    """
    n_items = len(jax.tree.leaves(arguments)[0])
    share = -(-n_items // jax.local_device_count())
    n = -(-n_items // share)
    arguments = jax.tree.map(lambda a: a[np.arange(n * share) % n_items], arguments)
    results = Devices(n).on_each(lambda _, items: jax.lax.map(function, items), summed=False)(None, arguments)
    return jax.tree.map(lambda a: a[:n_items], results)
