"""Distribute blocks of rows over the devices of this process, so that a pass over the data uses all of them.

By default JAX treats the cores of a machine as one device and runs a scan on one core. After
``jax.config.update("jax_num_cpu_devices", n)``, before the first use of JAX, each of n cores is a device that scans its part
of the blocks. Several accelerators are used in the same way. Other computations run identically on every device, except for the
items that ``map_on_each`` distributes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

_MIN_BLOCKS = 24  # of each device: with fewer, the synchronisation after every pass costs more than it gains
_AXIS = "device"


@jax.tree_util.register_static
@dataclass(frozen=True)
class Devices:
    """The first ``n`` devices. It is a static pytree: a function of arrays on other devices is compiled separately."""

    n: int = 1

    def spread(self, array: np.ndarray) -> Array:
        """The array with its first axis divided among the devices."""
        return jax.device_put(array, NamedSharding(self._mesh, PartitionSpec(_AXIS)) if self.n > 1 else None)

    def on_each(self, function: Callable, *, summed: bool) -> Callable:
        """``function(shared, split)`` on every device, with the device's part of the first axes of ``split``.

        The results are summed over the devices if ``summed``, else concatenated along their first axes.
        """
        if self.n == 1:
            return function
        divided, replicated = PartitionSpec(_AXIS), PartitionSpec()

        def on_one(shared, split):
            result = function(shared, split)
            return jax.lax.psum(result, _AXIS) if summed else result

        # check_vma would require that the zeros at which scans start are marked as different on each device
        return jax.shard_map(
            on_one,
            mesh=self._mesh,
            in_specs=(replicated, divided),
            out_specs=replicated if summed else divided,
            check_vma=False,
        )

    @property
    def _mesh(self) -> Mesh:
        return Mesh(np.array(jax.local_devices()[: self.n]), (_AXIS,))


def for_blocks(n_blocks: int) -> Devices:
    """The devices for ``n_blocks`` blocks."""
    return Devices(max(1, min(jax.local_device_count(), n_blocks // _MIN_BLOCKS)))


def map_on_each(function: Callable, arguments):
    """Map ``function`` over the first axes of ``arguments``, with the items distributed over the devices.

    Each device processes its items sequentially (``jax.lax.map``), so that an item with fewer iterations of a loop does not
    wait for another item as it would under ``vmap``. The first items go to different devices, for the last ones may be empty.
    Where the items do not divide evenly, the first ones are computed twice.
    """
    n_items = len(jax.tree.leaves(arguments)[0])
    n_each = -(-n_items // jax.local_device_count())
    n = -(-n_items // n_each)
    of_device = np.arange(n * n_each).reshape(n_each, n).T.reshape(-1)  # n items further each time
    arguments = jax.tree.map(lambda a: a[of_device % n_items], arguments)
    results = Devices(n).on_each(lambda _, items: jax.lax.map(function, items), summed=False)(None, arguments)
    place = np.argsort(of_device)[:n_items]
    return jax.tree.map(lambda a: a[place], results)
