"""Which faults to try, and the table of what came of them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from faults.injection import FAILURES, KILL, Fault, Role
from faults.trial import Bench, Trial

ROLES: tuple[Role, ...] = ("commits", "publishes")
OUTCOMES = ("answered", "refused", "replaced", "halted", "not reached")


def faults(bench: Bench, most: int, syscalls: Iterable[str] = FAILURES) -> list[Fault]:
    """Every fault of a workload; at most so many of a kind, then spread evenly from first to last."""
    found: list[Fault] = []
    for role in ROLES:
        counts = bench.count(role)
        for syscall in syscalls:
            for how in (*FAILURES[syscall], KILL):
                found += [Fault(role, syscall, how, n) for n in spread(counts[syscall], most)]
    return found


def spread(count: int, most: int) -> Iterator[int]:
    """1 to `count`, or `most` of them with the first and the last."""
    if count <= most:
        yield from range(1, count + 1)
    elif most == 1:
        yield (count + 1) // 2
    else:
        yield from (1 + round(place * (count - 1) / (most - 1)) for place in range(most))


def table(trials: list[Trial]) -> str:
    """One line for each kind of fault, Markdown."""
    kinds: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for trial in trials:
        if trial.fault is not None:
            counted = kinds[trial.fault.role, trial.fault.syscall, trial.fault.how]
            counted.update(("tried", trial.outcome, *(["unsafe"] if trial.unsafe else [])))
    columns = ("tried", *OUTCOMES, "unsafe")
    lines = [
        f"| thread that | system call | fault | {' | '.join(columns)} |",
        f"|---|---|---|{'--:|' * len(columns)}",
    ]
    total = Counter[str]()
    for kind, counted in sorted(kinds.items()):
        total += counted
        lines.append(f"| {' | '.join(kind)} | {' | '.join(str(counted[name]) for name in columns)} |")
    lines.append(f"| **all** | | | {' | '.join(f'**{total[name]}**' for name in columns)} |")
    return "\n".join(lines)
