"""The energy of a call, where the hardware reports it; never an estimate.

The processors' and accelerators' own counters (Intel RAPL, NVML, ROCm, as zeus reads them) count what the
whole machine uses. So only a call that had the machine to itself, from its admission to its outcome, has an
energy: what the counters rose by. Of calls that overlap it is not known whose it was, and they have none. The
energy of an idle machine is in it; that of another machine's engine is never known.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import structlog

from regalia.errors import RegaliaError

_LOG = structlog.get_logger()
_MJ_PER_KWH = Decimal(3_600_000_000)
Carbon = dict[str, dict[str, str]]


class EnergyUnavailable(RegaliaError):
    """The machine does not report its energy, or the optional extra is not installed."""


class Energy(msgspec.Struct, frozen=True):
    """What was measured in millijoules, by which counters, and the carbon of it if the grid's is known."""

    millijoules: int
    source: str
    carbon: Carbon | None = None


class Counters:
    """Counters that only rise. `read` gives millijoules since some moment."""

    def __init__(self, read: Callable[[], int], source: str) -> None:
        self.read = read
        self.source = source


class EnergyMeter:
    """Measures calls that have the machine to themselves. `grid` is in grams of CO2-equivalent a kWh."""

    def __init__(self, counters: Counters, grid: Decimal | None = None) -> None:
        self._counters = counters
        self._grid = grid
        self._open: dict[
            str, int | None
        ] = {}  # by call: the counters at its beginning, None once it overlapped

    def begin(self, call: str) -> None:
        """A call begins."""
        alone = not self._open
        if not alone:
            self._open = dict.fromkeys(self._open)  # nobody's energy is known any more
        self._open[call] = self._read() if alone else None

    def end(self, call: str) -> Energy | None:
        """What the call has used, None if that is not known. A second time it is None."""
        begun = self._open.pop(call, None)
        if begun is None:
            return None
        ended = self._read()
        if ended is None or ended < begun:  # a counter was reset
            return None
        used = ended - begun
        return Energy(used, self._counters.source, self._carbon(used))

    def _read(self) -> int | None:
        try:
            return self._counters.read()
        except Exception as error:  # whatever a driver raises: then it is not known
            _LOG.warning("the energy can't be read", reason=str(error))
            return None

    def _carbon(self, millijoules: int) -> Carbon | None:
        return None if self._grid is None else carbon(millijoules, self._grid)


def carbon(millijoules: int, grid: Decimal) -> Carbon:
    """Energy and its carbon in OpenGateLLM's shape, `usage.carbon`; measured, so `min` and `max` are one."""
    kwh = Decimal(millijoules) / _MJ_PER_KWH
    energy, mass = _decimal(kwh), _decimal(kwh * grid / 1000)
    return {"kWh": {"min": energy, "max": energy}, "kgCO2eq": {"min": mass, "max": mass}}


def _decimal(value: Decimal) -> str:
    """At most twelve decimals, no exponent."""
    text = f"{value:.12f}".rstrip("0").rstrip(".")
    return text or "0"


def machine_counters() -> Counters:
    """This machine's counters. Raises EnergyUnavailable."""
    try:
        from zeus.device import get_cpus, get_gpus  # type: ignore[import-not-found]
    except ImportError as error:
        raise EnergyUnavailable(
            "measuring energy takes the optional extra: pip install 'regalia[energy]'"
        ) from error
    readers: list[tuple[str, Callable[[], float]]] = []
    for source, find, add in (("gpu", get_gpus, _gpu_readers), ("cpu", get_cpus, _cpu_readers)):
        try:
            readers += [(source, reader) for reader in add(find())]
        except Exception as error:  # each vendor's library has its own; without it there is no such counter
            _LOG.info("no energy counters", device=source, reason=str(error).splitlines()[0])
    if not readers:
        raise EnergyUnavailable("neither a processor nor an accelerator here reports its energy")
    for _, reader in readers:
        reader()
    sources = "+".join(sorted({source for source, _ in readers}))
    return Counters(lambda: int(sum(reader() for _, reader in readers)), sources)


def _gpu_readers(gpus: Any) -> list[Callable[[], float]]:
    """A reader for each accelerator that counts its energy, in millijoules."""

    def reader(index: int) -> Callable[[], float]:
        return lambda: float(gpus.get_total_energy_consumption(index))

    return [reader(index) for index in range(len(gpus)) if gpus.supports_get_total_energy_consumption(index)]


def _cpu_readers(cpus: Any) -> list[Callable[[], float]]:
    """A reader for each processor package, with its memory where that is counted apart."""

    def reader(index: int) -> Callable[[], float]:
        def read() -> float:
            measured = cpus.get_total_energy_consumption(index)
            return float(measured.cpu_mj) + float(measured.dram_mj or 0)

        return read

    return [reader(index) for index in range(len(cpus))]
