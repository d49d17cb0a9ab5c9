"""Names of months, by language, as dates are written, and of days of the week, which are no names."""

MONTHS_BY_LANGUAGE = {
    "en": "january february march april may june july august september october november december",
    "en short": "jan feb mar apr - jun jul aug sep oct nov dec",
    "ms": "januari februari mac april mei jun julai ogos september oktober november disember",
    "id": "januari februari maret april mei juni juli agustus september oktober november desember",
    "sw": "januari februari machi aprili mei juni julai agosti septemba oktoba novemba desemba",
    "ar": "يناير فبراير مارس أبريل مايو يونيو يوليو أغسطس سبتمبر أكتوبر نوفمبر ديسمبر",
    "ar plain": "يناير فبراير مارس ابريل مايو يونيو يوليو اغسطس سبتمبر اكتوبر نوفمبر ديسمبر",
    "ta": "ஜனவரி பிப்ரவரி மார்ச் ஏப்ரல் மே ஜூன் ஜூலை ஆகஸ்ட் செப்டம்பர் அக்டோபர் நவம்பர் டிசம்பர்",
    "de": "januar februar märz april mai juni juli august september oktober november dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
    "pl": "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada "
    "grudnia",
}

MONTHS = {
    name: number
    for names in MONTHS_BY_LANGUAGE.values()
    for number, name in enumerate(names.split(), 1)
    if name != "-"
}
"""Each name in lower case, with its number."""

WEEKDAYS = frozenset(
    word
    for words in (
        "monday tuesday wednesday thursday friday saturday sunday",
        "mondays tuesdays wednesdays thursdays fridays saturdays sundays",
        "isnin selasa rabu khamis jumaat sabtu ahad senin kamis jumat minggu",
        "jumatatu jumanne jumatano alhamisi ijumaa jumamosi jumapili",
        "montag dienstag mittwoch donnerstag freitag samstag sonntag",
    )
    for word in words.split()
)
"""In lower case, of languages that write them with a capital."""
