import pytest

from regalia.policy.detector import Resources
from regalia.policy.detectors import DETECTORS
from regalia.policy.detectors.language import Language, languages

SENTENCES = {
    "en": [
        "How do I renew my passport at the office?",
        "The committee will meet on Monday and decide about it.",
    ],
    "ms": [
        "Bagaimana cara memperbarui paspor saya di kantor?",
        "Bagaimanakah saya boleh memperbaharui pasport saya di pejabat?",
        "Sila hubungi kami untuk maklumat lanjut tentang permohonan anda.",
        "Saya ingin mengajukan permohonan yang baru untuk usaha kecil saya.",
    ],
    "sw": [
        "Naomba kujua jinsi ya kupata kitambulisho changu kipya.",
        "Watu wengi walikuja katika mkutano wa leo.",
    ],
    "vi": ["Tôi muốn hỏi về thủ tục cấp căn cước công dân.", "Các bạn có thể giúp tôi điền đơn này không?"],
    "ar": ["كيف يمكنني تجديد جواز السفر الخاص بي؟"],
    "zh": ["请问如何更新我的护照？"],
    "ta": ["என் கடவுச்சீட்டை எப்படி புதுப்பிப்பது?"],
    "de": ["Wie kann ich meinen Reisepass verlängern?", "Die Sitzung findet am Montag im Rathaus statt."],
    "fr": ["Comment puis-je renouveler mon passeport à la mairie ?"],
    "es": ["¿Cómo puedo renovar mi pasaporte en la oficina de la ciudad?"],
    "it": ["Come posso rinnovare il mio passaporto in questura?"],
    "nl": ["Hoe kan ik mijn paspoort bij de gemeente verlengen?"],
    "pl": ["Jak mogę odnowić mój paszport i co jest do tego potrzebne?"],
    "pt": ["Como posso renovar o meu passaporte na junta de freguesia?"],
    "ru": ["Как мне обновить паспорт?"],
    "ja": ["パスポートの更新方法を教えてください。"],
    "fa": ["چگونه می توانم گذرنامه خود را تمدید کنم؟ این کار برای من مهم است."],
}


@pytest.mark.parametrize("code", SENTENCES)
def test_a_sentence_is_in_its_language(code: str) -> None:
    for sentence in SENTENCES[code]:
        shares = languages(sentence)
        assert max(shares, key=lambda one: shares[one]) == code, (sentence, shares)


@pytest.mark.parametrize(
    "text", ["", "x = foo(bar)[1]", "Nairobi 12345", "OK", "9.81 m/s²", "Siti Nurhaliza"]
)
def test_what_is_no_sentence_is_in_no_language(text: str) -> None:
    assert languages(text) == {}


def test_malay_and_indonesian_are_allowed_together() -> None:
    for allowed in (["ms"], ["id"]):
        assert all(Language(allowed).find(sentence) == [] for sentence in SENTENCES["ms"])


def test_other_languages_are_found_over_the_whole_text() -> None:
    text = SENTENCES["fr"][0]
    [one] = Language(["en", "ms"]).find(text)
    assert (one.kind, one.start, one.end) == ("language.fr", 0, len(text))


def test_a_second_language_of_a_large_share_is_told_too() -> None:
    text = SENTENCES["en"][0] + " " + SENTENCES["zh"][0] * 2
    assert [one.kind for one in Language(["en"]).find(text)] == ["language.zh"]


def test_a_long_text_is_sampled_to_its_end() -> None:
    text = (SENTENCES["en"][1] + " ") * 300 + (SENTENCES["fr"][0] + " ") * 400
    assert {one.kind for one in Language().find(text)} == {"language.en", "language.fr"}


def test_an_unknown_language_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="does not know xx"):
        DETECTORS["language"]({"allow": ["en", "xx"]}, Resources())
