"""Energy is what counters rose by while a call was alone; of others it is not known, and not guessed."""

from decimal import Decimal

from regalia.ledger import Settlement
from regalia.metering.energy import Counters, EnergyMeter, carbon
from regalia.metering.recorded import recorded_usage


class Hardware:
    """Counters in a test's hand."""

    def __init__(self) -> None:
        self.millijoules = 1000
        self.broken = False

    def read(self) -> int:
        if self.broken:
            raise OSError("the driver has gone")
        return self.millijoules


def meter(hardware: Hardware, grid: Decimal | None = None) -> EnergyMeter:
    return EnergyMeter(Counters(hardware.read, "gpu"), grid)


def test_a_call_that_is_alone_has_what_the_counters_rose_by() -> None:
    hardware = Hardware()
    measured = meter(hardware, Decimal(56))
    measured.begin("a")
    hardware.millijoules += 36_000
    energy = measured.end("a")
    assert energy is not None
    assert (energy.millijoules, energy.source) == (36_000, "gpu")
    assert energy.carbon == {
        "kWh": {"min": "0.00001", "max": "0.00001"},
        "kgCO2eq": {"min": "0.00000056", "max": "0.00000056"},
    }
    assert measured.end("a") is None, "once"


def test_calls_that_overlap_have_none_and_the_next_one_that_is_alone_has_its_own() -> None:
    hardware = Hardware()
    measured = meter(hardware)
    measured.begin("a")
    hardware.millijoules += 5
    measured.begin("b")
    hardware.millijoules += 5
    assert measured.end("a") is None
    measured.begin("c")
    hardware.millijoules += 5
    assert measured.end("b") is None
    assert measured.end("c") is None
    measured.begin("d")
    hardware.millijoules += 7
    energy = measured.end("d")
    assert energy is not None
    assert energy.millijoules == 7
    assert energy.carbon is None, "the grid is not known"


def test_counters_that_fail_or_begin_again_give_none() -> None:
    hardware = Hardware()
    measured = meter(hardware)
    measured.begin("a")
    hardware.millijoules = 3
    assert measured.end("a") is None
    measured.begin("b")
    hardware.broken = True
    assert measured.end("b") is None
    measured.begin("c")
    hardware.broken = False
    assert measured.end("c") is None


def test_a_record_without_a_measurement_says_nothing_of_energy() -> None:
    settlement = Settlement("2026-11-22", "o", "p", "k", "", "completions", "m", "", "", 3, 0, 4, 0)
    assert recorded_usage(settlement) == {"input": 3, "output": 4, "total": 7}


def test_carbon_is_written_without_an_exponent() -> None:
    assert carbon(1, Decimal("0.1"))["kgCO2eq"]["min"] == "0"
    assert carbon(3_600_000_000, Decimal(500))["kgCO2eq"]["max"] == "0.5"
