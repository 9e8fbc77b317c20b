"""Readings of a GPU's power -> the energy that it took in a window; pure."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raybench.analysis.window import Window

_LONGEST_GAP_NS = 3 * 10**9  # nvidia-smi reads five times a second, a page of a Triton is read once


def energy_j(gpu: pa.Table, window: Window | None) -> float | None:
    """The integral of one GPU's power over the window, J, with straight lines between its readings, also of those
    around the window.

    None without a window, and where it was not read for over 3 s of it.
    """
    known = gpu.filter(pc.is_valid(gpu["gpu_power_w"])).sort_by("time_ns")
    if window is None or not len(known):
        return None
    times_ns, watts = known["time_ns"].to_numpy(), known["gpu_power_w"].to_numpy()
    inside = times_ns[(times_ns > window.start_ns) & (times_ns < window.end_ns)]
    points_ns = np.concatenate([[window.start_ns], inside, [window.end_ns]])
    steps_ns = np.diff(points_ns)
    if steps_ns.max() > _LONGEST_GAP_NS:
        return None
    origin = window.start_ns  # epoch stamps of ns are beyond what a float64 tells apart
    power_w = np.interp(points_ns - origin, times_ns - origin, watts)
    return float(steps_ns @ (power_w[1:] + power_w[:-1])) / 2e9


def items_per_joule(inferences_per_s: float | None, energy: float | None, window: Window | None) -> float | None:
    """Items of a window by the energy that was taken in it; None where either is not known."""
    if inferences_per_s is None or not energy or window is None:
        return None
    return inferences_per_s * window.seconds / energy
