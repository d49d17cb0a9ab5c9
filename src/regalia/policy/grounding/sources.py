"""What a request's sources say, kept for one call: their numbers, dates and names, and vectors of sentences.

Nothing outlives the call. Each part is made when it is first asked for.
"""

from collections.abc import Sequence
from functools import cached_property

from regalia.policy.grounding.dates import Date, agrees, dates
from regalia.policy.grounding.names import Lexicon, Name
from regalia.policy.grounding.numbers import PERCENT, Number, hours_of, numbers, spelled
from regalia.policy.grounding.sentences import sentences
from regalia.policy.meaning import Vector
from regalia.policy.normalise import normalise


class Sources:
    """The sources of one request, and `beside` them what else it says."""

    def __init__(self, texts: Sequence[str], beside: Sequence[str] = ()) -> None:
        self._given = [text for text in texts if text.strip()]
        self._beside = beside
        self.vectors: dict[str, Vector] = {}
        """Vectors of sentences, of the sources and of the answer, by the sentence."""
        self.judged: dict[str, float] = {}
        """Scores of the answer's sentences: a stream's are asked for more than once."""

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._given)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The sources, normalised as detectors read texts."""
        return tuple(normalise(text).text for text in self._given)

    @cached_property
    def widened(self) -> "Sources":
        """All that the request says: what a fact may stand on where a rail allows it."""
        return Sources([*self._given, *self._beside])

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """The different sentences of the sources."""
        found = (text[start:end] for text in self.texts for start, end in sentences(text))
        return tuple(dict.fromkeys(found))

    def supports_number(self, number: Number) -> bool:
        """Whether one of the number's readings is given, in its unit as far as units are known."""
        known = self._numbers
        for reading in number.readings:
            units = known.get(reading)
            if units is None:
                units = {unit for hour in hours_of(reading) for unit in known.get(hour, ())}
            if number.unit in units or (units and not number.unit):
                return True
            if number.unit != PERCENT and "" in units:
                return True
        return False

    def supports_date(self, date: Date) -> bool:
        """Whether one of the date's readings agrees with a date that is given."""
        years = self._years
        return any(
            agrees(stated, given, years)
            for stated in date.readings
            for known in self._dates
            for given in known.readings
        )

    def supports_name(self, name: Name) -> bool:
        """Whether the name stands in the sources. True where they are in a script without capitals."""
        return not self._lexicon.cased or self._lexicon.holds(name, self._months)

    @cached_property
    def _dates(self) -> tuple[Date, ...]:
        return tuple({one.readings: one for text in self.texts for one in dates(text)}.values())

    @cached_property
    def _months(self) -> frozenset[int]:
        return frozenset(month for date in self._dates for _, month, _ in date.readings)

    @cached_property
    def _years(self) -> frozenset[int]:
        return frozenset(int(one) for one in self._numbers if len(one) == 4 and one.isdecimal())

    @cached_property
    def _lexicon(self) -> Lexicon:
        return Lexicon(self.texts)

    @cached_property
    def _numbers(self) -> dict[str, set[str]]:
        known: dict[str, set[str]] = {}
        for text in self.texts:
            for number in numbers(text):
                for reading in number.readings:
                    known.setdefault(reading, set()).add(number.unit)
            for reading, unit in spelled(text):
                known.setdefault(reading, set()).add(unit)
        for date in self._dates:
            for parts in date.readings:
                for part in parts:
                    known.setdefault(str(part), set()).add("")
        known.pop("", None)
        return known


NO_SOURCES = Sources(())
"""What an answer has to stand on where its request gave nothing."""
