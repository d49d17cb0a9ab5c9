"""Words around a number: those that speak for a kind of identifier, and those that speak for something else.

The nearest word decides. A word counts when nothing but other items of the same list stands between it and
the number: in "IC 900101-14-5567, order 881212145567" the second number has only "order".
"""

import re
from collections.abc import Iterable

BEFORE = 72
"""How far before a number its words are looked for, in code points."""
AFTER = 28
_AGAINST_REACH = 30
_NOWHERE = (BEFORE + 1, 0)

_CLAUSE = re.compile(r"[,;.\n0-9]")
_LETTER = r"[^\W\d_]"

_AGAINST_LATIN = (
    # English
    "order", "invoice", "receipt", "tracking", "parcel", "shipment", "consignment", "waybill", "reference",
    "ref", "transaction", "ticket", "booking", "serial", "sku", "part number", "product code", "model number",
    "batch", "lot number", "isbn", "issn", "barcode", "ean", "version", "timestamp", "epoch", "unix time",
    "meter", "account", "acct", "population", "budget", "amount", "total", "price", "case number", "checksum",
    "coordinates", "article number", "voucher", "coupon", "container", "asset tag", "build number",
    # Malay, Indonesian
    "pesanan", "invois", "faktur", "resi", "resit", "rujukan", "referensi", "transaksi", "tiket", "siri",
    "seri", "akaun", "rekening", "penghantaran", "pengiriman", "bungkusan", "kod produk", "kode produk",
    "jumlah",
    # Swahili
    "oda", "ankara", "stakabadhi", "muamala", "mzigo", "tiketi", "akaunti", "kumbukumbu", "risiti",
    # Vietnamese
    "đơn hàng", "hóa đơn", "hoá đơn", "vận đơn", "giao dịch", "tham chiếu", "mã vé", "tài khoản", "sản phẩm",
    # German, French, Spanish, Italian, Dutch, Polish, Portuguese
    "bestellung", "bestellnummer", "rechnung", "rechnungsnummer", "sendung", "sendungsnummer", "auftrag",
    "auftragsnummer", "artikelnummer", "seriennummer", "vorgang", "vorgangsnummer", "aktenzeichen",
    "commande", "facture", "colis", "suivi", "référence", "numéro de série", "dossier",
    "pedido", "factura", "envío", "referencia", "número de serie", "ordine", "fattura", "spedizione",
    "riferimento", "bestelling", "bestelnummer", "factuur", "zending", "zamówienie", "zamówienia", "faktura",
    "faktury", "przesyłka", "przesyłki", "encomenda", "fatura", "tilaus", "lasku", "ordernummer",
)  # fmt: skip
_AGAINST_OTHER = (
    "طلب", "فاتورة", "الفاتورة", "شحنة", "الشحنة", "مرجع", "المرجع", "تذكرة", "معاملة", "المعاملة", "حساب",
    "الحساب", "تسلسلي", "订单", "发票", "快递", "流水号", "訂單",
)  # fmt: skip
_SUFFIX = r"(?:[ _-]?(?:id|no|nr|number|num|code|ref|reference|nummer|nombor|nomor))?[.:#]?"
_THINGS = (
    "customer|client|session|device|product|user|item|request|message|job|task|process|thread|record|file|page|post|"
    "video|channel|group|event|node|server|host|document|policy|contract|application|chat|run|test|image|object|row|"
    "vendor|supplier|store|branch|project|permit|licence|license|vehicle|building|plot|parcel|loan|claim|member"
)
_OF_THINGS = rf"(?<!{_LETTER})(?:{_THINGS})[ _-](?:id|no|number|num|nr)[.:#]?(?!{_LETTER})"


def pattern(latin: Iterable[str], other: Iterable[str] = (), suffix: str = "") -> re.Pattern[str]:
    """Terms as one expression: those in Latin script as whole words, the others wherever they stand.

    Words of a term may be joined as names of fields join them: `national_id`, `nationalId`.
    """
    words = "|".join(
        re.escape(term).replace(r"\ ", "[ _-]?") for term in sorted(latin, key=len, reverse=True)
    )
    found = rf"(?<!{_LETTER})(?:{words}){suffix}(?!{_LETTER})"
    rest = "|".join(re.escape(term) for term in sorted(other, key=len, reverse=True))
    return re.compile(f"{found}|{rest}" if rest else found)


def terms(*words: str, adjacent: str = "") -> re.Pattern[str]:
    """An expression of terms in lower case; sorts them by script itself.

    `adjacent` is a word that says too little unless the number follows at once.
    """
    latin = [word for word in words if word[0] < "\u0250" or "\u1e00" <= word[0] <= "\u1eff"]
    found = pattern(latin, [word for word in words if word not in latin], _SUFFIX)
    return re.compile(rf"{found.pattern}|(?<!{_LETTER}){adjacent}(?=[ ]?\Z)") if adjacent else found


_AGAINST = re.compile(f"{_OF_THINGS}|{pattern(_AGAINST_LATIN, _AGAINST_OTHER, _SUFFIX).pattern}")


class Surroundings:
    """The text around one number; computed as asked for, and kept for all recognisers that ask."""

    __slots__ = ("_against", "after", "before")

    def __init__(self, lower: str, floor: int, start: int, end: int) -> None:
        """`lower` is the whole text in lower case; before `floor` the words belong to something else."""
        self.before = lower[max(floor, start - BEFORE) : start]
        after = lower[end : end + AFTER]
        cut = _CLAUSE.search(after)
        self.after = after[: cut.start()] if cut else after
        self._against: tuple[int, int] | None = None

    def speaks(self, words: re.Pattern[str]) -> int:
        """1 when one of `words` is the nearest, -1 when a word for something else is, 0 for neither."""
        near = self._nearest(words, BEFORE)
        if self._against is None:
            self._against = self._nearest(_AGAINST, _AGAINST_REACH)
        if self._against <= near and self._against != _NOWHERE:
            return -1
        return 1 if near != _NOWHERE else 0

    def _nearest(self, words: re.Pattern[str], reach: int) -> tuple[int, int]:
        """How far off the nearest of `words` is, and its length, negated: of two that end together the longer
        is the nearer, so that "residence permit number" stands against "permit number".
        """
        nearest = _NOWHERE
        window = self.before[-reach:] if reach < BEFORE else self.before
        for match in words.finditer(window):
            nearest = len(window) - match.end(), match.start() - match.end()
        if after := words.search(self.after):
            nearest = min(nearest, (after.start(), after.start() - after.end()))
        return nearest
