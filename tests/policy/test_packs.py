import pytest

from regalia.policy import packs
from regalia.policy.compiled import compile_document
from regalia.policy.detector import Resources
from regalia.policy.detectors import DETECTORS
from regalia.policy.detectors.language import group
from regalia.policy.trial import trial

COUNTRIES = {"my", "sg", "ae", "sa", "ke", "id", "vn", "eu"}


def test_the_eight_jurisdictions_have_packs() -> None:
    assert set(packs.names()) >= COUNTRIES


@pytest.mark.parametrize("name", sorted(COUNTRIES))
async def test_a_packs_own_examples_come_out_as_it_says(name: str) -> None:
    document, _ = packs.load(name)
    outcome = await trial(compile_document(document, DETECTORS, Resources()))
    assert outcome.failures == []
    assert outcome.examples >= 10


@pytest.mark.parametrize("name", sorted(COUNTRIES))
def test_a_pack_speaks_the_languages_of_its_country(name: str) -> None:
    _, pack = packs.load(name)
    assert pack.retention is not None and pack.retention.basis
    assert pack.disclosure is not None
    local = {language for language in pack.languages if language != "en"}
    assert local & set(pack.disclosure.notice)
    assert {group(example.language) for example in pack.examples if example.acts} - {"en"} & {
        group(one) for one in local
    }
    assert any(not example.acts for example in pack.examples)
